"""The gallery: example test images with truth, the mask of every exit they visited, and where the result is wrong."""

from dataclasses import dataclass

from pipeline.run_report import wording
from pipeline.run_report.example import Example, ExampleStep
from pipeline.run_report.palette import IGNORED, Rgb, class_colours, css, readable_on
from pipeline.run_report.pictures import Labels, confidence_uri, data_uri, decode_labels, errors_uri, mask_uri, regions
from pipeline.run_report.record import RunReport


@dataclass(frozen=True)
class Number:
    """A class number on a mask, placed in per cent of the picture."""

    text: str
    left: float
    top: float
    paper: str
    ink: str


@dataclass(frozen=True)
class Tile:
    """A picture with its caption. `alt` says in words what the picture shows; `kind` how it is laid out.

    Kinds: "mask", "map" (a small picture, enlarged smoothly), "errors" (lies over the card's photo).
    """

    source: str
    title: str
    caption: str
    alt: str
    kind: str = "mask"
    numbers: tuple[Number, ...] = ()
    final: bool = False


@dataclass(frozen=True)
class Visit:
    """What one exit said: mask, confidence map (where one was kept), errors."""

    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class Card:
    """An example: photo (data URI), truth, the exits it visited in order, and what the others would have said."""

    name: str
    title: str
    photo: str
    truth: Tile
    visits: tuple[Visit, ...]
    others: tuple[Tile, ...]


@dataclass(frozen=True)
class Group:
    """Cards that leave at the same exit."""

    title: str
    cards: tuple[Card, ...]


@dataclass(frozen=True)
class ClassKey:
    """A row of the legend."""

    number: int
    name: str
    paper: str
    ink: str


def legend(report: RunReport) -> list[ClassKey]:
    """Number, name and colour of every class, as the masks show them."""
    colours = class_colours(report.data.classes)
    return [
        ClassKey(n, name, css(colour), readable_on(colour))
        for n, (name, colour) in enumerate(zip(report.data.classes, colours, strict=True))
    ]


def gallery(report: RunReport) -> list[Group]:
    """The examples, grouped by the exit where they leave, earliest first."""
    colours = class_colours(report.data.classes)
    leaving = sorted({example.steps[-1].exit for example in report.examples})
    return [Group(_group_title(report, exit), _cards(report, exit, colours)) for exit in leaving]


def _cards(report: RunReport, exit: int, colours: tuple[Rgb, ...]) -> tuple[Card, ...]:
    return tuple(_card(report, example, colours) for example in report.examples if example.steps[-1].exit == exit)


def _group_title(report: RunReport, exit: int) -> str:
    chosen = report.chosen.candidate.choice.exits
    name = report.exits[exit]
    if report.deadlines_ns:
        return f"With time enough: the answer of {name}"
    if len(chosen) == 1:
        return f"All images leave at {name}"
    if exit == chosen[0]:
        return f"Easy: leave at {name}"
    return f"Hard: go on to {name}" if exit == chosen[-1] else f"In between: leave at {name}"


def _card(report: RunReport, example: Example, colours: tuple[Rgb, ...]) -> Card:
    truth, last = decode_labels(example.truth), example.steps[-1]
    return Card(
        name=example.name,
        title=f"Leaves at {report.exits[last.exit]}, {wording.percent(last.agreement)} right",
        photo=data_uri(example.photo, "jpeg"),
        truth=_mask_tile(report, truth, colours, "Truth", _unlabelled(truth)),
        visits=tuple(_visit(report, example, step, truth, colours) for step in example.steps),
        others=tuple(_other(report, step, colours) for step in example.others),
    )


def _visit(report: RunReport, example: Example, step: ExampleStep, truth: Labels, colours: tuple[Rgb, ...]) -> Visit:
    last = step is example.steps[-1]
    labels = decode_labels(step.mask)
    title = f"{report.exits[step.exit]}: {'leaves' if last else 'goes on'}"
    mask = _mask_tile(report, labels, colours, title, _step_caption(step), last)
    return Visit((mask, *_map_tile(report, step), _errors_tile(report, step, truth, labels)))


def _map_tile(report: RunReport, step: ExampleStep) -> tuple[Tile, ...]:
    if not step.confidence_map:
        return ()
    where = report.exits[step.exit]
    by = "" if step.map_by == "shipped file" else f", by the {step.map_by}"
    tile = Tile(confidence_uri(step.confidence_map), "Confidence", f"by pixel{by}", f"confidence of {where}", "map")
    return (tile,)


def _errors_tile(report: RunReport, step: ExampleStep, truth: Labels, labels: Labels) -> Tile:
    wrong = f"{wording.percent(1 - step.agreement)} of labelled pixels"
    alt = f"pixels that {report.exits[step.exit]} gets wrong, in orange: {wrong}"
    return Tile(errors_uri(truth, labels), "Wrong", wrong, alt, "errors")


def _other(report: RunReport, step: ExampleStep, colours: tuple[Rgb, ...]) -> Tile:
    caption = f"{wording.percent(step.agreement)} right"
    return _mask_tile(report, decode_labels(step.mask), colours, report.exits[step.exit], caption)


def _unlabelled(truth: Labels) -> str:
    share = float((truth == IGNORED).mean())
    return f"{wording.percent(share)} without a label" if share else "every pixel labelled"


def _step_caption(step: ExampleStep) -> str:
    words = [f"{wording.percent(step.agreement)} right"]
    if step.confidence is not None:
        words.append(f"confidence {step.confidence:.3f}")
    if step.confidence is not None and step.threshold is not None:
        words.append(f"{'≥' if step.confidence >= step.threshold else '<'} {step.threshold:.3f}")
    return ", ".join(words[:2]) + (f" {words[2]}" if len(words) > 2 else "")


def _mask_tile(
    report: RunReport, labels: Labels, colours: tuple[Rgb, ...], title: str, caption: str, final: bool = False
) -> Tile:
    found = regions(labels, len(colours))
    numbers = tuple(
        Number(str(r.label), r.left, r.top, css(colours[r.label]), readable_on(colours[r.label]))
        for r in found
        if r.left is not None and r.top is not None
    )
    said = ", ".join(f"{report.data.classes[r.label]} {wording.percent(r.share, 0)}" for r in found)
    alt = f"{title}: {said or 'no labelled pixel'}"
    return Tile(mask_uri(labels, colours), title, caption, alt, numbers=numbers, final=final)
