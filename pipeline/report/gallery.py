"""The gallery: example test images with truth, the mask of every exit they visited, and where the result is wrong."""

from dataclasses import dataclass

from pipeline.report import wording
from pipeline.report.palette import IGNORED, Rgb, class_colours, css, readable_on
from pipeline.report.pictures import Labels, data_uri, decode_labels, errors_uri, mask_uri, regions
from pipeline.report.record import Example, ExampleStep, RunReport


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
    """A picture with its caption. `alt` says in words what the picture shows."""

    source: str
    title: str
    caption: str
    alt: str
    numbers: tuple[Number, ...] = ()
    final: bool = False


@dataclass(frozen=True)
class Card:
    """An example: where it left, and its tiles in order."""

    name: str
    title: str
    tiles: tuple[Tile, ...]


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
    if len(chosen) == 1:
        return f"All images leave at {name}"
    if exit == chosen[0]:
        return f"Easy: leave at {name}"
    return f"Hard: go on to {name}" if exit == chosen[-1] else f"In between: leave at {name}"


def _card(report: RunReport, example: Example, colours: tuple[Rgb, ...]) -> Card:
    truth = decode_labels(example.truth)
    last = example.steps[-1]
    final = decode_labels(last.mask)
    wrong = Tile(
        errors_uri(example.photo, truth, final),
        "Where it is wrong",
        f"{wording.percent(1 - last.agreement)} of labelled pixels",
        f"wrong pixels of {example.name} in orange",
    )
    photo = Tile(data_uri(example.photo, "jpeg"), "Photo", example.name, f"test image {example.name}")
    target = _mask_tile(report, truth, colours, "Truth", _unlabelled(truth))
    steps = tuple(_step_tile(report, step, step is last, colours) for step in example.steps)
    title = f"Leaves at {report.exits[last.exit]}, {wording.percent(last.agreement)} right"
    return Card(example.name, title, (photo, target, *steps, wrong))


def _unlabelled(truth: Labels) -> str:
    share = float((truth == IGNORED).mean())
    return f"{wording.percent(share)} without a label" if share else "every pixel labelled"


def _step_tile(report: RunReport, step: ExampleStep, last: bool, colours: tuple[Rgb, ...]) -> Tile:
    title = f"{report.exits[step.exit]}: {'leaves' if last else 'goes on'}"
    return _mask_tile(report, decode_labels(step.mask), colours, title, _step_caption(step), last)


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
    return Tile(mask_uri(labels, colours), title, caption, f"{title}: {said or 'no labelled pixel'}", numbers, final)
