"""Latencies as a report shows them: how they were obtained, with their interval."""

from typing import Literal

from device_profiler.measurement import Measurement, Provenance, Verdict
from pipeline.run_report.row import Row

PartKind = Literal["block", "head", "boundary", "finish"]


class TimingSource(Row, frozen=True, kw_only=True):
    """Where latencies come from: how they were obtained, the unit asked for and the unit whose time it is."""

    provenance: Provenance
    requested_unit: str
    actual_unit: str


class Timing(Row, frozen=True, kw_only=True):
    """One latency with its 95 % interval (low = high on a virtual clock) and the number of runs behind it.

    `verdict`: whether the accelerator that was asked for really ran; only where one ran.
    """

    ns: float
    low_ns: float
    high_ns: float
    samples: int
    source: TimingSource
    note: str = ""
    verdict: Verdict | None = None


def timing_of(measurement: Measurement) -> Timing:
    """The report's view of a measurement: its median, interval, number of samples and provenance.

    A predicted time is the requested unit's; the unit that computed the outputs stands in the measurement's note.
    """
    predicted = measurement.provenance == "predicted"
    return Timing(
        ns=measurement.median_ns,
        low_ns=measurement.low_ns,
        high_ns=measurement.high_ns,
        samples=len(measurement.samples_ns),
        source=TimingSource(
            provenance=measurement.provenance,
            requested_unit=measurement.requested_unit,
            actual_unit=measurement.requested_unit if predicted else measurement.actual_unit,
        ),
        note=measurement.note,
        verdict=measurement.verdict,
    )


class PathTiming(Row, frozen=True, kw_only=True):
    """One way through a deployment, from the image to the label map, that leaves at `exit`.

    `whole`: timed as one run. `parts_ns`: blocks + heads + boundaries + finish on the way, by the latency table.
    """

    exit: int
    whole: Timing
    parts_ns: float


class PartTiming(Row, frozen=True, kw_only=True):
    """Latency of one part. `exit` and `head` say which: a boundary is the cost after every selected exit but the last.

    A boundary that does not depend on the exit has `exit` None. `reused`: taken from the store, not run this time.
    """

    kind: PartKind
    timing: Timing
    exit: int | None = None
    head: str = ""
    macs: float | None = None
    reused: bool = False
