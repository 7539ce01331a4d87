"""How often an entry point runs, and which of its samples count: on a virtual clock, and on a wall clock."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from device_profiler.errors import DeviceError
from device_profiler.intervals import Interval, median_interval, settled_from

MOST_LAUNCHES = 6
# Two samples of the virtual clock may differ by its rounding and by what the allocator happens to do.
_VIRTUAL_SPREAD, _VIRTUAL_SPREAD_NS = 1e-3, 500


class Timed(Protocol):
    """The times of a result: see CallResult and CascadeResult."""

    @property
    def samples_ns(self) -> tuple[int, ...]: ...
    @property
    def load_ns(self) -> int: ...
    @property
    def first_ns(self) -> int: ...
    @property
    def peak_rss_kb(self) -> int: ...


Result = TypeVar("Result", bound=Timed)


@dataclass(frozen=True)
class Effort:
    """How much is run: `launches` of the process, each with a first run, `warmup` runs and `iterations` samples."""

    launches: int
    warmup: int
    iterations: int

    @property
    def runs(self) -> int:
        """Runs of each entry point altogether."""
        return self.launches * (1 + self.warmup + self.iterations)


VIRTUAL = Effort(launches=1, warmup=0, iterations=2)
WALL = Effort(launches=3, warmup=3, iterations=40)

Launch = Callable[[Sequence[int], Effort], list[Result]]
"""Runs the entries of these indices in this order, in one launch; their results in the same order."""


@dataclass(frozen=True)
class Series(Generic[Result]):
    """Valid samples of one entry by launch, their interval, and the last launch's result."""

    launches: tuple[tuple[int, ...], ...]
    interval: Interval
    last: Result
    note: str = ""

    @property
    def samples_ns(self) -> tuple[int, ...]:
        """The samples of all launches, in order."""
        return tuple(sample for samples in self.launches for sample in samples)


def virtual_series(entries: Sequence[str], launch: Launch[Result]) -> list[Series[Result]]:
    """One launch; the last sample is the figure, for on a virtual clock they are all equal.

    Raises:
        DeviceError: they are not.
    """
    series = []
    for entry, result in zip(entries, launch(range(len(entries)), VIRTUAL), strict=True):
        least, most = min(result.samples_ns), max(result.samples_ns)
        if most - least > _VIRTUAL_SPREAD * least + _VIRTUAL_SPREAD_NS:
            raise DeviceError(
                f"two runs of {entry} took {least} and {most} ns of the virtual clock: it is not steady; start the "
                "emulated phone anew"
            )
        value = float(result.samples_ns[-1])
        series.append(Series((result.samples_ns,), Interval(value, value, value), result))
    return series


def settled_series(entries: Sequence[str], launch: Launch[Result], effort: Effort = WALL) -> list[Series[Result]]:
    """Launches in shuffled order until each entry has enough that settled; what comes before they settle is warm-up.

    Raises:
        DeviceError: an entry did not settle in MOST_LAUNCHES launches.
    """
    kept: list[list[tuple[int, ...]]] = [[] for _ in entries]
    last: dict[int, Result] = {}
    shuffle = random.Random(0)
    for _ in range(MOST_LAUNCHES):
        order = shuffle.sample(range(len(entries)), len(entries))
        for index, result in zip(order, launch(order, effort), strict=True):
            last[index] = result
            start = settled_from(result.samples_ns)
            if start is not None:
                kept[index].append(result.samples_ns[start:])
        if all(len(launches) >= effort.launches for launches in kept):
            return [_series(launches, last[index]) for index, launches in enumerate(kept)]
    unsettled = [entry for entry, launches in zip(entries, kept, strict=True) if len(launches) < effort.launches]
    raise DeviceError(
        f"{', '.join(unsettled)} did not settle in {MOST_LAUNCHES} launches: something else runs on the phone, or it "
        "is warm; close apps, let it rest, try again"
    )


def _series(launches: Sequence[tuple[int, ...]], last: Result) -> Series[Result]:
    return Series(tuple(launches), median_interval(launches), last, f"{len(launches)} launches")
