"""Figures that follow from a report's content: expected latencies, speed-ups, paths by part, kept constraints."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.run_report.candidate import Candidate, Choice, Score, Whole
from pipeline.run_report.record import Constraint, RunReport
from pipeline.run_report.timing import PartTiming, Timing, TimingSource


def final_score(candidate: Candidate) -> Score:
    """The figures on the test split, or the search split's where the candidate was not tested."""
    return candidate.test or candidate.search


def expected(whole: Whole) -> Timing:
    """Expected latency: whole-path timings weighted by the share of (test) images that take each path.

    Interval bounds are weighted alike, so the interval is a conservative one. `samples` is the smallest of the paths'.
    """
    shares = final_score(whole.candidate).exit_rates

    def weighted(value: Callable[[Timing], float]) -> float:
        return sum(share * value(path.whole) for share, path in zip(shares, whole.paths, strict=True))

    return Timing(
        ns=weighted(lambda t: t.ns),
        low_ns=weighted(lambda t: t.low_ns),
        high_ns=weighted(lambda t: t.high_ns),
        samples=min(path.whole.samples for path in whole.paths),
        source=_weakest([path.whole.source for path in whole.paths]),
    )


def _weakest(sources: list[TimingSource]) -> TimingSource:
    """A sum is only as good as its worst term."""
    return max(sources, key=lambda source: ("measured", "imported", "emulated", "predicted").index(source.provenance))


def expected_by_parts(whole: Whole) -> float:
    """Expected latency by the latency table in ns, with the same shares as `expected`."""
    shares = final_score(whole.candidate).exit_rates
    return sum(share * path.parts_ns for share, path in zip(shares, whole.paths, strict=True))


def worst(whole: Whole) -> Timing:
    """The slowest path, timed whole."""
    return max((path.whole for path in whole.paths), key=lambda timing: timing.ns)


def parts_error(whole: float, parts: float) -> float:
    """How far the sum of parts lies from the whole, as a share of the whole (positive: parts say more)."""
    return parts / whole - 1 if whole else 0.0


@dataclass(frozen=True)
class SpeedUp:
    """How many times faster `chosen` is, with the interval that both latencies' intervals allow."""

    value: float
    low: float
    high: float

    @property
    def exact(self) -> bool:
        """Whether the interval has no width at the shown precision."""
        return f"{self.low:.2f}" == f"{self.high:.2f}"


def speed_up(chosen: Timing, other: Timing) -> SpeedUp | None:
    """Ratio of `other` to `chosen`; None where they can't be compared (different provenance or unit)."""
    if chosen.source != other.source or not chosen.low_ns:
        return None
    return SpeedUp(other.ns / chosen.ns, other.low_ns / chosen.high_ns, other.high_ns / chosen.low_ns)


def is_strongest_single(report: RunReport) -> bool:
    """Whether the chosen configuration is itself the strongest single-exit network."""
    chosen, single = report.chosen.candidate.choice, report.strongest_single.candidate.choice
    return (chosen.exits, chosen.heads) == (single.exits, single.heads)


@dataclass(frozen=True)
class Kept:
    """A constraint with the figure that it bounds: `value` and `bound` in the constraint's own unit."""

    value: float
    bound: float
    holds: bool


def check_constraint(bound: Constraint, score: Score, reference: Score, latency: float, worst_latency: float) -> Kept:
    """Whether `bound` holds for a score; tolerances as in the search: 1e-9 of mIoU, 1e-6 ns."""
    value = {
        "max_latency": latency,
        "max_worst_latency": worst_latency,
        "min_miou": score.miou,
        "max_drop": reference.miou - score.miou,
    }[bound.kind]
    if bound.kind == "min_miou":
        return Kept(value, bound.bound, value >= bound.bound - 1e-9)
    tolerance = 1e-9 if bound.kind == "max_drop" else 1e-6
    return Kept(value, bound.bound, value <= bound.bound + tolerance)


@dataclass(frozen=True)
class PathStep:
    """A part on the way of the full path: from `start_ns` to `end_ns` after the image went in.

    `exit`: the exit that it leads to, belongs to, or (a boundary) follows.
    """

    name: str
    exit: int
    part: PartTiming
    start_ns: float
    end_ns: float


def full_path(report: RunReport) -> list[PathStep]:
    """The parts that an image runs through when it leaves at the last selected exit of the chosen configuration."""
    return path_through(report, report.chosen.candidate.choice)


def path_through(report: RunReport, choice: Choice) -> list[PathStep]:
    """The parts of a configuration's full path, in order.

    Blocks up to each selected exit, its head, the boundary (but after the last), and the finish of the last exit.
    Parts that the table lacks (a boundary, a finish counted with the head) are left out.
    """
    way: list[tuple[int, PartTiming | None]] = []
    reached = -1
    for exit, head in zip(choice.exits, choice.heads, strict=True):
        way += [(block, _part(report, "block", block)) for block in range(reached + 1, exit + 1)]
        way.append((exit, _part(report, "head", exit, head)))
        if exit != choice.exits[-1]:
            way.append((exit, _part(report, "boundary", exit)))
        reached = exit
    way.append((reached, _part(report, "finish", reached)))
    return _laid_out(report, [(exit, part) for exit, part in way if part is not None])


def reached_ns(report: RunReport, choice: Choice) -> tuple[float, ...]:
    """When each selected exit has its answer: the sum of the parts up to it, a finish included."""
    steps = path_through(report, choice)
    finish = sum(step.end_ns - step.start_ns for step in steps if step.part.kind == "finish")
    before = [step for step in steps if step.part.kind != "finish"]
    return tuple(max((s.end_ns for s in before if s.exit <= exit), default=0.0) + finish for exit in choice.exits)


def _laid_out(report: RunReport, parts: list[tuple[int, PartTiming]]) -> list[PathStep]:
    steps, clock = [], 0.0
    for exit, part in parts:
        steps.append(PathStep(_name(part, report.exits[exit]), exit, part, clock, clock + part.timing.ns))
        clock += part.timing.ns
    return steps


def _part(report: RunReport, kind: str, exit: int, head: str = "") -> PartTiming | None:
    """The part for an exit, or the one that serves every exit."""
    fitting = [p for p in report.parts if p.kind == kind and p.exit in (exit, None) and (not head or p.head == head)]
    return min(fitting, key=lambda part: part.exit is None, default=None)


def part_name(part: PartTiming, exits: tuple[str, ...]) -> str:
    """A part's name as shown. A block is named by the exit that it ends at."""
    return _name(part, "" if part.exit is None else exits[part.exit])


def _name(part: PartTiming, where: str) -> str:
    return " ".join(word for word in (part.kind, where, part.head) if word)


def thinned(candidates: Sequence[Candidate], limit: int) -> list[Candidate]:
    """At most `limit` candidates, evenly spread from the fastest to the slowest, both of these included."""
    ordered = sorted(candidates, key=lambda candidate: candidate.search.latency_ns)
    if len(ordered) <= limit:
        return ordered
    return [ordered[round(n * (len(ordered) - 1) / (limit - 1))] for n in range(limit)]
