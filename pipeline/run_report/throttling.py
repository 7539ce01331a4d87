"""The throttling curve of a run, where `profile --sustained` has left one: read, and as the page shows it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import altair as alt
import msgspec

from device_profiler.errors import InputError
from pipeline.run_report import wording
from pipeline.run_report.charts import Specification, finished, paint, tooltip
from pipeline.run_report.timing import TimingSource

if TYPE_CHECKING:
    from device_profiler.sustained import CurveWindow, ThrottlingCurve

CURVE_NAME = "sustained.json"
_HEIGHT = 240
_ROWS = 12


@dataclass(frozen=True)
class CurveRow:
    """One window of the table; `width`: its median as a share of the largest."""

    start: str
    median: str
    p90: str
    width: float


@dataclass(frozen=True)
class CurveShown:
    """What the page says of a curve; `rows` are as many of its windows as a table bears."""

    curve: ThrottlingCurve
    source: TimingSource
    thermal: str
    rows: tuple[CurveRow, ...]


def read_curve(run: Path) -> ThrottlingCurve | None:
    """The curve of the run folder `run`, or None where nobody took one.

    Raises:
        InputError: what is there is no throttling curve.
    """
    path = run / CURVE_NAME
    if not path.is_file():
        return None
    from device_profiler.sustained import ThrottlingCurve

    try:
        curve = msgspec.json.decode(path.read_bytes(), type=ThrottlingCurve)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} is no throttling curve ({error}): remove it, or take it again by `profile --sustained`"
        ) from error
    return curve if curve.windows else None


def shown(curve: ThrottlingCurve) -> CurveShown:
    """The curve in words."""
    before, after = (state.get("thermal_status", "unknown") for state in (curve.state_before, curve.state_after))
    windows = [curve.windows[len(curve.windows) * n // _ROWS] for n in range(min(_ROWS, len(curve.windows)))]
    slowest = max(window.median_ns for window in windows)
    return CurveShown(
        curve,
        TimingSource(provenance=curve.provenance, requested_unit=curve.actual_unit, actual_unit=curve.actual_unit),
        f"{before} before, {after} after",
        tuple(_row(window, slowest) for window in windows),
    )


def _row(window: CurveWindow, slowest: float) -> CurveRow:
    start = f"{window.start_s:.1f}{wording.THIN}s"
    return CurveRow(
        start, wording.duration(window.median_ns), wording.duration(window.p90_ns), window.median_ns / slowest
    )


def curve_chart(curve: ThrottlingCurve) -> Specification:
    """Latency over time: the median of every window, and the 90th percentile as a band above it."""
    rows = [
        {
            "start": window.start_s,
            "median": window.median_ns / 1e6,
            "p90": window.p90_ns / 1e6,
            "told": wording.duration(window.median_ns),
            "when": f"{window.start_s:.1f}{wording.THIN}s",
        }
        for window in curve.windows
    ]
    base = alt.Chart(alt.InlineData(values=rows))
    x = alt.X("start:Q", title="time under load, s", axis=alt.Axis(tickCount=6))
    title = f"latency of {curve.entry}, ms ({curve.provenance})"
    y = alt.Y("median:Q", title=title, scale=alt.Scale(zero=True))
    band = base.mark_area(fill=paint("accent"), opacity=0.2).encode(x=x, y=y, y2="p90:Q")
    line = base.mark_line(stroke=paint("accent"), strokeWidth=2)
    points = base.mark_point(fill=paint("accent"), filled=True, size=30, opacity=0.9, strokeWidth=0)
    told = tooltip(when="after", told="median")
    layered = alt.layer(band, line.encode(x=x, y=y), points.encode(x=x, y=y, tooltip=told))
    return finished(layered, _HEIGHT, "latency over time under continuous load")
