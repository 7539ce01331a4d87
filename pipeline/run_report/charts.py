"""The charts, as Vega-Lite specifications that serve both colour schemes.

A mark names its colour ("@accent"); the page puts the scheme's own in when it draws. What a reader picks on the page
goes into the Pareto chart's named data sets `PICKED`, `ASKED_LATENCY` and `ASKED_MIOU`, empty until then.
"""

import math
from collections.abc import Callable, Sequence

import altair as alt

from pipeline.run_report import wording
from pipeline.run_report.candidate import Candidate
from pipeline.run_report.figures import PathStep, full_path, is_strongest_single, thinned
from pipeline.run_report.palette import (
    CHOSEN,
    FRONTS,
    PART_COLOURS,
    REFERENCE,
    SINGLE,
    STRONGEST,
    Series,
    Theme,
)
from pipeline.run_report.record import RunReport

Specification = dict[str, object]
Row = dict[str, str | float | None]

_POINT_HEIGHT = 360
_ROW_HEIGHT = 26
_AXIS_HEIGHT = 50
_SMALLEST_POINT = 22
FRONT_POINTS = 300
"""Points of a setting's front that the chart draws at most: more can't be told apart."""
PICKED, ASKED_LATENCY, ASKED_MIOU = "picked", "asked_latency", "asked_miou"
_HEAD_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
_HEAD_COLOURS = ("accent", "gold", "green", "pink", "red")


def paint(colour: str) -> str:
    """The mark of a colour of the theme, for the page to replace."""
    if colour not in Theme.__dataclass_fields__:
        raise ValueError(f"no colour {colour!r} in the theme")
    return f"@{colour}"


def chart_config() -> Specification:
    """Vega-Lite's config for every chart, in the marks of the theme's colours."""
    soft, line = paint("soft"), paint("line")
    text = {
        "labelColor": soft,
        "titleColor": soft,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": 500,
    }
    return {
        "background": "transparent",
        "font": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif",
        "view": {"stroke": None},
        "axis": {**text, "labelPadding": 6, "gridColor": line, "domainColor": line, "tickColor": line},
        "text": {"fill": paint("ink"), "fontSize": 12},
    }


def pareto_chart(report: RunReport, quality: tuple[float, float] | None = None) -> Specification:
    """mIoU over expected latency on the search split: fronts, single exits, the networks compared, the bound.

    `quality`: ends of the mIoU axis in per cent, for charts that stand side by side.
    """
    groups = pareto_series(report)
    layers: list[alt.Chart] = [*_bounds(report), *_asked(), _picked()]
    for series, candidates in groups:
        data = alt.InlineData(values=[_candidate_row(report, series, candidate) for candidate in candidates])
        if series in FRONTS.values():
            layers.append(_front_line(data, series))
        layers.append(_points(data, series, len(candidates)))
    layers.append(_name(report, quality))
    return finished(alt.layer(*layers), _POINT_HEIGHT, "mIoU over expected latency for every configuration considered")


def pareto_series(report: RunReport) -> list[tuple[Series, list[Candidate]]]:
    """What the Pareto chart shows, back to front, each candidate once, under its strongest name."""
    named = [
        (CHOSEN, [report.chosen.candidate]),
        (STRONGEST, [] if is_strongest_single(report) else [report.strongest_single.candidate]),
        (REFERENCE, [report.reference.candidate]),
    ]
    special = {_key(member) for _, members in named for member in members}
    fronts = [(series, _front(report, setting)) for setting, series in FRONTS.items()]
    singles = [candidate for candidate in report.singles if _key(candidate) not in special]
    return [(series, members) for series, members in [(SINGLE, singles), *fronts, *reversed(named)] if members]


def _front(report: RunReport, setting: str) -> list[Candidate]:
    return thinned([c for c in report.front if c.choice.setting == setting], FRONT_POINTS)


def front_points_drawn(report: RunReport) -> int:
    """How many of the front's points the Pareto chart draws."""
    return sum(len(_front(report, setting)) for setting in FRONTS)


def _key(candidate: Candidate) -> tuple[object, ...]:
    """One exit is the same network in every setting."""
    choice = candidate.choice
    return (choice.exits, choice.heads, choice.thresholds)


def _candidate_row(report: RunReport, series: Series, candidate: Candidate) -> Row:
    score, test = candidate.search, candidate.test
    return {
        "kind": series.name,
        "latency": score.latency_ns / 1e6,
        "miou": 100 * score.miou,
        "configuration": wording.configuration(candidate.choice, report.exits),
        "expected": f"{wording.duration(score.latency_ns)} ({report.table.provenance})",
        "worst": f"{wording.duration(score.worst_latency_ns)} ({report.table.provenance})",
        "quality": wording.percent(score.miou),
        "tested": wording.percent(test.miou) if test else "not tested",
        "leaving": wording.rates(candidate.choice, score, report.exits),
    }


def tooltip(**fields: str) -> list[alt.Tooltip]:
    """What a point says when it is pointed at: the rows' fields, each under its title."""
    return [alt.Tooltip(field=field, type="nominal", title=title) for field, title in fields.items()]


_CANDIDATE_TOOLTIP = {
    "kind": "what",
    "configuration": "configuration",
    "quality": "mIoU, search split",
    "tested": "mIoU, test split",
    "expected": "expected latency",
    "worst": "full path",
    "leaving": "leaves at",
}


def _latency_axis(report: RunReport) -> alt.X:
    title = f"expected latency, ms ({report.table.provenance}, {wording.unit(report.table)})"
    return alt.X("latency:Q", title=title, axis=alt.Axis(tickCount=6), scale=alt.Scale(zero=True, nice=True))


def _quality_axis(ends: tuple[float, float] | None) -> alt.Y:
    scale = alt.Scale(domain=list(ends)) if ends else alt.Scale(zero=False, nice=True, padding=12)
    return alt.Y("miou:Q", title="mIoU on the search split, %", scale=scale)


def quality_ends(reports: Sequence[RunReport]) -> tuple[float, float]:
    """Ends of an mIoU axis, in per cent, that shows every point of several reports."""
    shown = [100 * c.search.miou for report in reports for _, members in pareto_series(report) for c in members]
    return 5.0 * math.floor(min(shown) / 5), 5.0 * math.ceil(max(shown) / 5 + 0.1)


def _front_line(data: alt.InlineData, series: Series) -> alt.Chart:
    mark = alt.Chart(data).mark_line(
        interpolate="step-after", stroke=paint(series.colour), strokeWidth=1.5, opacity=0.55
    )
    chart: alt.Chart = mark.encode(x="latency:Q", y="miou:Q")
    return chart


def _points(data: alt.InlineData, series: Series, count: int) -> alt.Chart:
    """Points of a series; they shrink where there are many."""
    area = max(_SMALLEST_POINT, min(series.area, 2400 // count))
    mark = alt.Chart(data).mark_point(
        shape=series.path, size=area, filled=True, fill=paint(series.colour), opacity=0.92, strokeWidth=0
    )
    chart: alt.Chart = mark.encode(x="latency:Q", y="miou:Q", tooltip=tooltip(**_CANDIDATE_TOOLTIP))
    return chart


def _picked() -> alt.Chart:
    """A ring around the point that the reader's bound picks."""
    mark = alt.Chart(alt.NamedData(PICKED)).mark_point(
        shape="circle", size=420, filled=False, stroke=paint("ink"), strokeWidth=2.5
    )
    chart: alt.Chart = mark.encode(x="latency:Q", y="miou:Q")
    return chart


def _asked() -> list[alt.Chart]:
    """The reader's bound, as a rule across the chart."""
    rules = {ASKED_LATENCY: {"x": "latency:Q"}, ASKED_MIOU: {"y": "miou:Q"}}
    return [
        alt.Chart(alt.NamedData(name)).mark_rule(stroke=paint("accent"), strokeWidth=2).encode(**place)
        for name, place in rules.items()
    ]


def _name(report: RunReport, quality: tuple[float, float] | None) -> alt.Chart:
    """The word "chosen" beside the star."""
    score = report.chosen.candidate.search
    data = alt.InlineData(values=[{"latency": score.latency_ns / 1e6, "miou": 100 * score.miou, "name": "chosen"}])
    mark = alt.Chart(data).mark_text(align="right", dx=-12, dy=-12, fontWeight="bold", fontSize=13)
    chart: alt.Chart = mark.encode(x=_latency_axis(report), y=_quality_axis(quality), text="name:N")
    return chart


def _bounds(report: RunReport) -> list[alt.Chart]:
    """A dashed rule with its words for every bound that the axes can show."""
    layers: list[alt.Chart] = []
    for bound in report.constraints:
        if bound.kind in ("min_miou", "max_drop"):
            level = bound.bound if bound.kind == "min_miou" else report.reference.candidate.search.miou - bound.bound
            layers += _level({"miou": 100 * level, "name": wording.mark(bound)}, below=True)
        elif bound.kind == "max_latency":
            layers += _limit({"latency": bound.bound / 1e6, "name": wording.mark(bound)})
    return layers


def _level(row: Row, below: bool) -> list[alt.Chart]:
    """A dashed rule at `miou` with its words at its left end."""
    data = alt.InlineData(values=[row])
    rule = alt.Chart(data).mark_rule(strokeDash=[5, 4], stroke=paint("grey"), strokeWidth=1.2)
    words = alt.Chart(data).mark_text(
        align="left",
        baseline="top" if below else "bottom",
        dx=4,
        dy=5 if below else -4,
        fontSize=11,
        fill=paint("soft"),
    )
    return [rule.encode(y="miou:Q"), words.encode(x=alt.value(0), y="miou:Q", text="name:N")]


def _limit(row: Row) -> list[alt.Chart]:
    """A dashed rule at `latency` with its words at its foot, to its left."""
    data = alt.InlineData(values=[row])
    rule = alt.Chart(data).mark_rule(strokeDash=[5, 4], stroke=paint("grey"), strokeWidth=1.2)
    words = alt.Chart(data).mark_text(align="right", baseline="bottom", dx=-4, dy=-6, fontSize=11, fill=paint("soft"))
    return [rule.encode(x="latency:Q"), words.encode(x="latency:Q", y=alt.value("height"), text="name:N")]


def path_chart(report: RunReport) -> Specification:
    """The full path of the chosen configuration part by part, each bar starting where the one before ends."""
    steps = full_path(report)
    rows = [_step_row(report, step) for step in steps]
    order = [str(row["part"]) for row in rows]
    layers = [layer for kind, colour in PART_COLOURS.items() for layer in _path_bars(report, rows, order, kind, colour)]
    return finished(
        alt.layer(*layers), _ROW_HEIGHT * len(rows) + _AXIS_HEIGHT, "the full path of the chosen configuration by part"
    )


def _step_row(report: RunReport, step: PathStep) -> Row:
    timing = step.part.timing
    return {
        "kind": step.part.kind,
        "part": step.name,
        "start": step.start_ns / 1e6,
        "end": step.end_ns / 1e6,
        "low": (step.start_ns + timing.low_ns) / 1e6,
        "high": (step.start_ns + timing.high_ns) / 1e6,
        "label": wording.duration(timing.ns),
        "interval": wording.interval(timing),
        "provenance": f"{timing.source.provenance}, {wording.unit(timing.source)}",
        "samples": timing.samples,
    }


_STEP_TOOLTIP = {
    "part": "part", "label": "latency", "interval": "95 % interval", "samples": "samples", "provenance": "provenance",
}  # fmt: skip


def _path_bars(report: RunReport, rows: list[Row], order: list[str], kind: str, colour: str) -> list[alt.Chart]:
    mine = [row for row in rows if row["kind"] == kind]
    if not mine:
        return []
    data = alt.InlineData(values=mine)
    title = f"time, ms ({report.table.provenance}, {wording.unit(report.table)})"
    x = alt.X("start:Q", title=title, axis=alt.Axis(tickCount=6))
    y = alt.Y(
        "part:N", sort=order, title=None, scale=alt.Scale(domain=order), axis=alt.Axis(labelLimit=150, ticks=False)
    )
    bars = alt.Chart(data).mark_bar(fill=paint(colour), height=alt.RelativeBandSize(0.62), cornerRadius=2)
    whiskers = alt.Chart(data).mark_rule(stroke=paint("ink"), strokeWidth=1.5)
    return [
        bars.encode(x=x, x2="end:Q", y=y, tooltip=tooltip(**_STEP_TOOLTIP)),
        whiskers.encode(x="low:Q", x2="high:Q", y=y),
    ]


def exits_chart(report: RunReport) -> Specification:
    """Test mIoU by exit for every head, and the majority-class guess as a rule."""
    order = list(report.exits)
    layers: list[alt.Chart] = _guess_rule(report)
    for head, colour, shape in head_marks(report):
        rows = [
            {"exit": report.exits[s.exit], "head": head, "miou": 100 * s.miou, "quality": wording.percent(s.miou)}
            for s in report.exit_scores
            if s.head == head
        ]
        layers += _head_layers(alt.InlineData(values=rows), order, colour, shape)
    return finished(alt.layer(*layers), 280, "test mIoU by exit and head")


def head_marks(report: RunReport) -> list[tuple[str, str, str]]:
    """(head, colour name, Vega shape) for every head, in the order of their first appearance."""
    heads = list(dict.fromkeys(score.head for score in report.exit_scores))
    return [
        (head, _HEAD_COLOURS[n % len(_HEAD_COLOURS)], _HEAD_SHAPES[n % len(_HEAD_SHAPES)])
        for n, head in enumerate(heads)
    ]


def _head_layers(data: alt.InlineData, order: Sequence[str], colour: str, shape: str) -> list[alt.Chart]:
    x = alt.X("exit:N", sort=list(order), title=None, axis=alt.Axis(labelAngle=0), scale=alt.Scale(domain=list(order)))
    y = alt.Y("miou:Q", title="mIoU on the test split, %", scale=alt.Scale(zero=True))
    line = alt.Chart(data).mark_line(stroke=paint(colour), strokeWidth=1.2, opacity=0.5).encode(x=x, y=y)
    points = alt.Chart(data).mark_point(
        fill=paint(colour), filled=True, shape=shape, size=70, opacity=0.95, strokeWidth=0
    )
    return [line, points.encode(x=x, y=y, tooltip=tooltip(exit="exit", head="head", quality="test mIoU"))]


def _guess_rule(report: RunReport) -> list[alt.Chart]:
    words = f"always “{report.majority.name}”: {wording.percent(report.majority.miou)}"
    return _level({"miou": 100 * report.majority.miou, "name": words}, below=False)


def routing_chart(report: RunReport) -> Specification | None:
    """Share of test images that leave at each selected exit; None where nothing leaves early."""
    chosen = report.chosen.candidate
    if report.setting != "adaptive" or len(chosen.choice.exits) < 2:
        return None
    score = chosen.test or chosen.search
    rows = [
        {"exit": report.exits[exit], "share": 100 * rate, "label": wording.percent(rate)}
        for exit, rate in zip(chosen.choice.exits, score.exit_rates, strict=True)
    ]
    order = [str(row["exit"]) for row in rows]
    base = alt.Chart(alt.InlineData(values=rows))
    y = alt.Y("exit:N", sort=order, title=None, axis=alt.Axis(ticks=False))
    x = alt.X(
        "share:Q",
        title="share of test images that leave here, %",
        scale=alt.Scale(domain=[0, 100]),
        axis=alt.Axis(tickCount=5),
    )
    bars = base.mark_bar(fill=paint("accent"), height=alt.RelativeBandSize(0.62), cornerRadius=2)
    words = base.mark_text(align="left", dx=5)
    layered = alt.layer(
        bars.encode(x=x, y=y, tooltip=tooltip(exit="exit", label="leave here")), words.encode(x=x, y=y, text="label:N")
    )
    return finished(layered, 34 * len(rows) + _AXIS_HEIGHT, "share of test images by exit")


def finished(chart: alt.LayerChart | alt.FacetChart, height: int, description: str) -> Specification:
    """`chart` as wide as the page; `description` is for who can't see it."""
    specification: Specification = chart.properties(width="container", height=height, description=description).to_dict()
    specification.pop("config", None)
    specification["autosize"] = {"type": "fit", "contains": "padding"}
    return specification


CHARTS: dict[str, Callable[[RunReport], Specification | None]] = {
    "pareto": pareto_chart,
    "path": path_chart,
    "routing": routing_chart,
    "exits": exits_chart,
}


def all_charts(report: RunReport) -> dict[str, Specification]:
    """Every chart that the report has data for, by name."""
    made = {name: chart(report) for name, chart in CHARTS.items()}
    return {name: chart for name, chart in made.items() if chart is not None}
