"""report.html: one file with its pictures, charts and chart library inside, so that it opens offline."""

import json
from dataclasses import asdict
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from device_profiler.files import write_atomic
from pipeline.report import tables, wording
from pipeline.report.assurance import assurances
from pipeline.report.charts import all_charts, front_points_drawn, head_marks, pareto_series, theme_config
from pipeline.report.decision import decide
from pipeline.report.figures import full_path
from pipeline.report.gallery import gallery, legend
from pipeline.report.palette import DARK, LIGHT, PART_COLOURS, Theme
from pipeline.report.record import RunReport

_SHAPE_PATHS = {
    "circle": "M-0.7,0A0.7,0.7,0,1,1,0.7,0A0.7,0.7,0,1,1,-0.7,0Z",
    "square": "M-0.65,-0.65H0.65V0.65H-0.65Z",
    "triangle-up": "M0,-0.7L0.75,0.6H-0.75Z",
    "triangle-down": "M0,0.7L0.75,-0.6H-0.75Z",
    "diamond": "M0,-0.9L0.7,0L0,0.9L-0.7,0Z",
    "cross": "M-0.25,-0.75H0.25V-0.25H0.75V0.25H0.25V0.75H-0.25V0.25H-0.75V-0.25H-0.25Z",
}


def render(report: RunReport, destination: Path) -> None:
    """Write the page for `report` to `destination`, atomically."""
    write_atomic(destination, page(report))


def page(report: RunReport) -> str:
    """The page's HTML."""
    return (
        _environment()
        .get_template("report.html")
        .render(
            report=report,
            decision=decide(report),
            assurances=assurances(report),
            specifications=all_charts(report),
            pareto_series=[series for series, _ in pareto_series(report)],
            head_marks=[(head, colour, _SHAPE_PATHS[shape]) for head, colour, shape in head_marks(report)],
            groups=gallery(report),
            legend=legend(report),
            part_colours=PART_COLOURS,
            drawn=front_points_drawn(report),
            steps=full_path(report),
            spread=any(part.timing.low_ns != part.timing.high_ns for part in report.parts),
            tables=tables,
            themes={"light": _scheme(LIGHT), "dark": _scheme(DARK)},
            light=_custom_properties(LIGHT),
            dark=_custom_properties(DARK),
            script=_script_text(_chart_library()),
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pipeline.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["json_script"] = _json_script
    environment.globals["w"] = wording
    return environment


def _scheme(theme: Theme) -> dict[str, object]:
    """What the page's script needs to draw charts in a colour scheme."""
    return {"config": theme_config(theme), "colours": asdict(theme)}


def _custom_properties(theme: Theme) -> Markup:
    return Markup(" ".join(f"--{name}: {colour};" for name, colour in asdict(theme).items()))


def _json_script(value: object) -> Markup:
    """JSON that can stand inside <script>: no character of it can end the element."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    return Markup(text.replace("<", "\\u003c"))


def _script_text(code: str) -> Markup:
    """JavaScript that can stand inside <script>."""
    return Markup(code.replace("</script", "<\\/script"))


@cache
def _chart_library() -> str:
    """Vega, Vega-Lite and vega-embed as one script that sets `vegaEmbed`."""
    import vl_convert

    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))
