"""How often an entry point runs, and which of its samples count: on a virtual clock, and on one that is not steady.

On a steady virtual clock two samples of one launch suffice. Everywhere else entries are compared in blocks:

    golden, the entries in random order, the same in reverse, golden

inside one process, so that a drift meets all entries alike; a block whose golden model drifted is void and is measured
again in a later launch.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median
from typing import Generic, Protocol, TypeVar

import msgspec

from device_profiler.errors import DeviceError, GoldenDriftError, InputError, InvalidMeasurementError
from device_profiler.intervals import SETTLED_CV, WINDOW, Interval, median_interval, ratio_interval
from device_profiler.measurement import Block, BlockVerdict
from device_profiler.runner.job import GOLDEN_VISIT, Settle
from device_profiler.runner.results import Visit

# Two samples of the virtual clock may differ by its rounding and by what the allocator happens to do.
_VIRTUAL_SPREAD, _VIRTUAL_SPREAD_NS = 1e-3, 500
_LEAST_COMMON = 2


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
    """What a launch on a steady clock runs of each entry: a first run, `warmup` runs and `iterations` samples."""

    warmup: int
    iterations: int

    @property
    def runs(self) -> int:
        """Runs of each entry altogether."""
        return 1 + self.warmup + self.iterations


_SETTLE = Settle(WINDOW, SETTLED_CV, most=40)


@dataclass(frozen=True)
class BlockEffort:
    """How much is run where blocks are compared.

    `launches`: of the process, with a valid block of every entry; `most_launches`: with the void ones. `entries`: of a
    block, at most. `iterations`: timed runs of one visit; every entry is visited twice a block. `drift`: largest
    deviation of the golden model.
    """

    launches: int = 6
    most_launches: int = 14
    entries: int = 6
    iterations: int = 8
    settle: Settle = _SETTLE
    drift: float = 0.05

    @property
    def runs(self) -> int:
        """Runs of each entry altogether where no block is void, about."""
        return self.launches * (1 + 2 * (self.settle.window + self.iterations))


VIRTUAL = Effort(warmup=0, iterations=2)
BLOCKS = BlockEffort()

Launch = Callable[[Effort], list[Result]]
"""Runs every entry in one launch on a steady clock; their results in order."""


@dataclass(frozen=True)
class Visited(Generic[Result]):
    """What one launch gave: a result for each entry that it ran, and the visits that it was asked for, in order."""

    results: list[Result]
    visits: Sequence[Visit]


BlockLaunch = Callable[[Sequence[int], Sequence[int]], Visited[Result]]
"""Runs the entries of these indices once each, then visits them: by position in the first list, or GOLDEN_VISIT."""


@dataclass(frozen=True)
class Series(Generic[Result]):
    """Valid samples of one entry by launch, their interval, the last launch's result, and all blocks."""

    launches: tuple[tuple[int, ...], ...]
    interval: Interval
    last: Result
    note: str = ""
    blocks: tuple[Block, ...] = ()

    @property
    def samples_ns(self) -> tuple[int, ...]:
        """The samples of all launches, in order."""
        return tuple(sample for samples in self.launches for sample in samples)


def virtual_series(entries: Sequence[str], launch: Launch[Result], *, steady: bool = True) -> list[Series[Result]]:
    """One launch; the last sample is the figure, for on a virtual clock they are all equal.

    `steady` is False where the times are not used.

    Raises:
        DeviceError: they are not equal on a clock that is to be steady.
    """
    series = []
    for entry, result in zip(entries, launch(VIRTUAL), strict=True):
        least, most = min(result.samples_ns), max(result.samples_ns)
        if steady and most - least > _VIRTUAL_SPREAD * least + _VIRTUAL_SPREAD_NS:
            raise DeviceError(
                f"two runs of {entry} took {least} and {most} ns of the virtual clock: it is not steady; start the "
                "emulated phone anew"
            )
        value = float(result.samples_ns[-1])
        series.append(Series((result.samples_ns,), Interval(value, value, value), result))
    return series


def compared_series(
    entries: Sequence[str],
    launch: BlockLaunch[Result],
    ready: Callable[[], object],
    effort: BlockEffort = BLOCKS,
    seed: int = 0,
) -> list[Series[Result]]:
    """Launches until every entry has valid blocks in enough of them; `ready` waits for the phone's state before each.

    Raises:
        InvalidMeasurementError: an entry did not get there in `effort.most_launches` launches; says what was wrong.
        GoldenDriftError: likewise, mostly because the golden model drifted.
    """
    shuffle = random.Random(seed)
    blocks: dict[int, list[Block]] = {index: [] for index in range(len(entries))}
    last: dict[int, Result] = {}
    pending = list(blocks)
    for number in range(effort.most_launches):
        ready()
        groups = _groups(pending, effort.entries, shuffle)
        order = [index for group in groups for index in group]
        visited = launch(order, [visit for group in groups for visit in _visits(group, order)])
        last |= dict(zip(order, visited.results, strict=True))
        for index, block in _blocks(number, groups, visited.visits):
            blocks[index].append(block)
        blocks = judged(blocks, effort.drift)
        pending = [index for index, taken in blocks.items() if len(valid_launches(taken)) < effort.launches]
        if not pending:
            return [_series(blocks[index], last[index]) for index in blocks]
    unfinished = {entries[index]: blocks[index] for index in pending}
    verdicts = Counter(block.verdict for taken in unfinished.values() for block in taken)
    drifted = verdicts["drifted"] + verdicts["off level"] > verdicts["unsettled"]
    raise (GoldenDriftError if drifted else InvalidMeasurementError)(_complaint(unfinished, effort))


def valid_launches(blocks: Iterable[Block]) -> dict[int, tuple[int, ...]]:
    """The samples of the valid blocks, by launch."""
    valid = [block for block in blocks if block.verdict == "valid"]
    return {
        number: tuple(sample for block in taken for sample in block.samples_ns)
        for number, taken in groupby(valid, key=lambda block: block.launch)
    }


def ratio_of(numerator: Iterable[Block], denominator: Iterable[Block]) -> Interval:
    """Ratio of two entries' latencies that were compared in one session, with its 95 % interval.

    Raises:
        InputError: fewer than two launches have valid blocks of both: they come from different sessions.
    """
    above, below = valid_launches(numerator), valid_launches(denominator)
    common = sorted(above.keys() & below.keys())
    if len(common) < _LEAST_COMMON:
        raise InputError("these two were not compared in one session: profile them together, in one artifact")
    return ratio_interval([above[number] for number in common], [below[number] for number in common])


def judged(blocks: Mapping[int, Sequence[Block]], drift: float) -> dict[int, list[Block]]:
    """All blocks of a session with their verdicts: the session's level is the median of those that did not drift."""
    every = [block for taken in blocks.values() for block in taken]
    levels = [_level(block) for block in every if _drift(block) <= drift]
    level = median(levels) if levels else 0.0
    return {index: [_judged(block, level, drift) for block in taken] for index, taken in blocks.items()}


def _judged(block: Block, level: float, drift: float) -> Block:
    verdict: BlockVerdict = "valid"
    if block.verdict == "unsettled":
        return block
    if _drift(block) > drift:
        verdict = "drifted"
    elif abs(_level(block) / level - 1) > drift:
        verdict = "off level"
    return msgspec.structs.replace(block, verdict=verdict)


def _drift(block: Block) -> float:
    return abs(median(block.golden_last_ns) / median(block.golden_first_ns) - 1)


def _level(block: Block) -> float:
    return (median(block.golden_first_ns) + median(block.golden_last_ns)) / 2


def _groups(pending: Sequence[int], most: int, shuffle: random.Random) -> list[list[int]]:
    """`pending` in random order, cut into blocks of about equal size."""
    order = shuffle.sample(pending, len(pending))
    count = -(-len(order) // most)
    return [order[len(order) * n // count : len(order) * (n + 1) // count] for n in range(count)]


def _visits(group: Sequence[int], order: Sequence[int]) -> list[int]:
    places = [order.index(index) for index in group]
    return [GOLDEN_VISIT, *places, *reversed(places), GOLDEN_VISIT]


def _blocks(launch: int, groups: Sequence[Sequence[int]], visits: Sequence[Visit]) -> list[tuple[int, Block]]:
    """Each entry's block of every group, with the index of the entry."""
    found = []
    start = 0
    for number, group in enumerate(groups):
        size = len(group)
        first, *there, last = visits[start : start + 2 * size + 2]
        start += 2 * size + 2
        for place, index in enumerate(group):
            pair = there[place], there[2 * size - 1 - place]
            block = Block(
                launch,
                number,
                warmup_ns=(*pair[0].warmup_ns, *pair[1].warmup_ns),
                samples_ns=(*pair[0].samples_ns, *pair[1].samples_ns),
                golden_first_ns=first.samples_ns,
                golden_last_ns=last.samples_ns,
                verdict="valid" if all(visit.settled for visit in pair) else "unsettled",
            )
            found.append((index, block))
    return found


def _series(blocks: Sequence[Block], last: Result) -> Series[Result]:
    launches = tuple(valid_launches(blocks).values())
    void = sum(block.verdict != "valid" for block in blocks)
    note = f"{len(launches)} launches" + (f", {void} void blocks measured again" if void else "")
    return Series(launches, median_interval(launches), last, note, tuple(blocks))


def _complaint(unfinished: Mapping[str, Sequence[Block]], effort: BlockEffort) -> str:
    verdicts = Counter(block.verdict for blocks in unfinished.values() for block in blocks)
    told = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
    return (
        f"{', '.join(unfinished)} got no {effort.launches} launches with a valid block in {effort.most_launches} "
        f"(blocks: {told}): something else runs on the phone, or its heat changes; close apps, let it rest, try again"
    )
