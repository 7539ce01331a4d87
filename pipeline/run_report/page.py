"""report.html: one file with its pictures, charts and chart library inside, so that it opens offline."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from device_profiler.files import write_atomic
from pipeline.run_report import tables, wording
from pipeline.run_report.assurance import assurances
from pipeline.run_report.charts import all_charts, front_points_drawn, head_marks, pareto_series
from pipeline.run_report.comparison import compared_classes, compared_runs, comparison_charts, differences, series_of
from pipeline.run_report.decision import decide
from pipeline.run_report.explorer import explorer
from pipeline.run_report.figures import full_path
from pipeline.run_report.gallery import gallery, legend
from pipeline.run_report.palette import DARK, LIGHT, PART_COLOURS, Theme, css
from pipeline.run_report.pictures import confidence_colours
from pipeline.run_report.record import RunReport
from pipeline.run_report.scripts import pack
from pipeline.run_report.throttling import curve_chart, shown

if TYPE_CHECKING:
    from device_profiler.sustained import ThrottlingCurve

_SHAPE_PATHS = {
    "circle": "M-0.7,0A0.7,0.7,0,1,1,0.7,0A0.7,0.7,0,1,1,-0.7,0Z",
    "square": "M-0.65,-0.65H0.65V0.65H-0.65Z",
    "triangle-up": "M0,-0.7L0.75,0.6H-0.75Z",
    "triangle-down": "M0,0.7L0.75,-0.6H-0.75Z",
    "diamond": "M0,-0.9L0.7,0L0,0.9L-0.7,0Z",
    "cross": "M-0.25,-0.75H0.25V-0.25H0.75V0.25H0.25V0.75H-0.25V0.25H-0.75V-0.25H-0.25Z",
}


def render(report: RunReport, destination: Path, curve: "ThrottlingCurve | None" = None) -> None:
    """Write the page for `report` to `destination`, atomically; `curve`: of a sustained run, if there was one."""
    write_atomic(destination, page(report, curve))


def page(report: RunReport, curve: "ThrottlingCurve | None" = None) -> str:
    """The page's HTML."""
    charts, explored = all_charts(report), explorer(report)
    if curve:
        charts["sustained"] = curve_chart(curve)
    return (
        _environment()
        .get_template("report.html")
        .render(
            report=report,
            decision=decide(report),
            assurances=assurances(report),
            charts=charts,
            explored=explored,
            pareto_series=[series for series, _ in pareto_series(report)],
            head_marks=[(head, colour, _SHAPE_PATHS[shape]) for head, colour, shape in head_marks(report)],
            groups=gallery(report),
            legend=legend(report),
            confidence_scale=[css(colour) for colour in confidence_colours()],
            part_colours=PART_COLOURS,
            sustained=shown(curve) if curve else None,
            drawn=front_points_drawn(report),
            steps=full_path(report),
            spread=any(part.timing.low_ns != part.timing.high_ns for part in report.parts),
            tables=tables,
            themes={"light": asdict(LIGHT), "dark": asdict(DARK)},
            light=_custom_properties(LIGHT),
            dark=_custom_properties(DARK),
            packed=pack(charts, explored),
        )
    )


def render_comparison(reports: Sequence[RunReport], destination: Path) -> None:
    """Write the page that lays runs side by side to `destination`, atomically."""
    charts = comparison_charts(reports)
    text = (
        _environment()
        .get_template("comparison.html")
        .render(
            runs=compared_runs(reports),
            classes=compared_classes(reports),
            differences=differences(reports),
            series=series_of(reports),
            themes={"light": asdict(LIGHT), "dark": asdict(DARK)},
            light=_custom_properties(LIGHT),
            dark=_custom_properties(DARK),
            packed=pack(charts),
        )
    )
    write_atomic(destination, text)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pipeline.run_report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["json_script"] = _json_script
    environment.globals["w"] = wording
    return environment


def _custom_properties(theme: Theme) -> Markup:
    return Markup(" ".join(f"--{name}: {colour};" for name, colour in asdict(theme).items()))


def _json_script(value: object) -> Markup:
    """JSON that can stand inside <script>: no character of it can end the element."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    return Markup(text.replace("<", "\\u003c"))
