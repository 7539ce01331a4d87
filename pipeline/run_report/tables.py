"""Rows of the page's tables that need more than the report's own fields."""

from collections.abc import Sequence
from dataclasses import dataclass

from mobile_export.manifest import Certificate
from pipeline.run_report import wording
from pipeline.run_report.candidate import Candidate, Choice, ExitGroup, ExitScore, Sensitivity
from pipeline.run_report.figures import PathStep, check_constraint, full_path, part_name, parts_error, thinned
from pipeline.run_report.proof import PrecisionScore, QuantisationFacts
from pipeline.run_report.record import RunReport, StageTime
from pipeline.run_report.timing import PartTiming, PathTiming, Timing


@dataclass(frozen=True)
class PathRow:
    """A path timed whole beside the sum of its parts. `error`: parts over whole, less one."""

    network: str
    path: PathTiming
    exit: str
    error: float


def path_rows(report: RunReport) -> list[PathRow]:
    """Every path of the networks that were timed whole."""
    wholes = (
        ("chosen", report.chosen),
        ("strongest single exit", report.strongest_single),
        ("full network", report.reference),
    )
    return [_path_row(report, name, path) for name, whole in wholes for path in whole.paths]


def _path_row(report: RunReport, name: str, path: PathTiming) -> PathRow:
    return PathRow(name, path, report.exits[path.exit], parts_error(path.whole.ns, path.parts_ns))


@dataclass(frozen=True)
class PartRow:
    """A part of the latency table. `used`: on a path of the chosen configuration. `width`: share of the longest."""

    name: str
    part: PartTiming
    used: bool
    width: float


def part_rows(report: RunReport) -> list[PartRow]:
    """Every part that was profiled, blocks first, then heads, boundaries and finishes, by depth."""
    kinds = ("block", "head", "boundary", "finish")
    parts = sorted(report.parts, key=lambda p: (kinds.index(p.kind), -1 if p.exit is None else p.exit))
    dearest = max((part.timing.ns for part in parts), default=1.0) or 1.0
    used = _used_parts(report)
    return [PartRow(part_name(p, report.exits), p, p in used, p.timing.ns / dearest) for p in parts]


def _used_parts(report: RunReport) -> list[PartTiming]:
    finishes = [
        p for p in report.parts if p.kind == "finish" and p.exit in (None, *report.chosen.candidate.choice.exits)
    ]
    return [step.part for step in full_path(report)] + finishes


def path_total(steps: Sequence[PathStep]) -> float:
    """Sum of the parts of a path, ns."""
    return steps[-1].end_ns if steps else 0.0


@dataclass(frozen=True)
class RoutingRow:
    """What leaves at one selected exit."""

    exit: str
    head: str
    threshold: float | None
    searched: float
    tested: float | None
    group: ExitGroup | None
    path: PathTiming


def routing_rows(report: RunReport) -> list[RoutingRow]:
    """A row for each selected exit of the chosen configuration."""
    candidate = report.chosen.candidate
    groups = {group.exit: group for group in report.groups}
    return [
        RoutingRow(
            exit=report.exits[exit],
            head=candidate.choice.heads[n],
            threshold=candidate.choice.thresholds[n] if n < len(candidate.choice.thresholds) else None,
            searched=candidate.search.exit_rates[n],
            tested=candidate.test.exit_rates[n] if candidate.test else None,
            group=groups.get(exit),
            path=report.chosen.paths[n],
        )
        for n, exit in enumerate(candidate.choice.exits)
    ]


@dataclass(frozen=True)
class ReadoutRow:
    """What an anytime deployment answers by a deadline; `miou`: the shipped file's, every test image leaving there."""

    deadline_ns: float
    exit: str
    whole: Timing
    miou: float | None


def readout_rows(report: RunReport) -> list[ReadoutRow]:
    """A row for every deadline that an exit answers, by the paths as timed whole."""
    groups = {group.exit: group.miou for group in report.groups}
    rows = []
    for deadline in report.deadlines_ns:
        reached = [path for path in report.chosen.paths if path.whole.ns <= deadline]
        if reached:
            path = reached[-1]
            rows.append(ReadoutRow(deadline, report.exits[path.exit], path.whole, groups.get(path.exit)))
    return rows


@dataclass(frozen=True)
class ClassTable:
    """IoU by class (rows) and network (columns: the best head of each exit, then the chosen configuration)."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[float | None, ...]], ...]
    miou: tuple[float, ...]


def class_table(report: RunReport) -> ClassTable:
    """Per-class IoU on the test split."""
    best = best_heads(report)
    columns = [(f"{report.exits[score.exit]} {score.head}", score.class_iou, score.miou) for score in best]
    test = report.chosen.candidate.test
    if test is not None and test.class_iou:
        columns.append(("chosen", test.class_iou, test.miou))
    names = report.data.classes
    rows = tuple((name, tuple(ious[n] for _, ious, _ in columns)) for n, name in enumerate(names))
    return ClassTable(tuple(name for name, _, _ in columns), rows, tuple(miou for _, _, miou in columns))


def best_heads(report: RunReport) -> list[ExitScore]:
    """The head with the highest test mIoU of every exit."""
    exits = sorted({score.exit for score in report.exit_scores})
    return [max((s for s in report.exit_scores if s.exit == exit), key=lambda s: s.miou) for exit in exits]


@dataclass(frozen=True)
class ScoreRow:
    """One exit and head: quality alone, latency by parts, and whether the chosen configuration uses it."""

    exit: str
    score: ExitScore
    latency_ns: float | None
    used: bool


def score_rows(report: RunReport) -> list[ScoreRow]:
    """Every exit and head on the test split, with the latency of a network that has only that exit."""
    latency = {(c.choice.exits[0], c.choice.heads[0]): c.search.latency_ns for c in report.singles}
    choice = report.chosen.candidate.choice
    used = set(zip(choice.exits, choice.heads, strict=True))
    return [
        ScoreRow(report.exits[s.exit], s, latency.get((s.exit, s.head)), (s.exit, s.head) in used)
        for s in report.exit_scores
    ]


@dataclass(frozen=True)
class SensitivityRow:
    """A parameter of the device model, and what wins at half and at double its value."""

    row: Sensitivity
    at_half: str
    at_double: str
    half_same: bool
    double_same: bool


def sensitivity_rows(report: RunReport) -> list[SensitivityRow]:
    """A row for each parameter, the ones that change the winner first."""
    chosen = report.chosen.candidate.choice
    rows = [
        SensitivityRow(
            row,
            _winner(row.at_half, report),
            _winner(row.at_double, report),
            same_network(row.at_half, chosen),
            same_network(row.at_double, chosen),
        )
        for row in report.sensitivity
    ]
    return sorted(rows, key=lambda row: row.half_same + row.double_same)


def same_network(one: Choice | None, other: Choice) -> bool:
    """Same exits and heads: thresholds may differ, they are chosen anew."""
    return one is not None and (one.exits, one.heads) == (other.exits, other.heads)


def _winner(choice: Choice | None, report: RunReport) -> str:
    return "nothing meets the objective" if choice is None else wording.configuration(choice, report.exits)


@dataclass(frozen=True)
class FrontRow:
    """A Pareto point, and whether it keeps the objective's bounds on the search split."""

    candidate: Candidate
    configuration: str
    chosen: bool
    feasible: bool


FRONT_ROWS = 60
"""Pareto points that the table lists at most."""


def front_rows(report: RunReport) -> list[FrontRow]:
    """The Pareto points, fastest first; where there are very many, evenly thinned with the chosen one among them."""
    once = {same_key(candidate): candidate for candidate in reversed(report.front)}
    shown = thinned(list(once.values()), FRONT_ROWS)
    chosen = report.chosen.candidate
    if not any(candidate.choice == chosen.choice for candidate in shown):
        shown = sorted([*shown, chosen], key=lambda candidate: candidate.search.latency_ns)
    return [
        FrontRow(
            candidate,
            wording.configuration(candidate.choice, report.exits),
            candidate.choice == chosen.choice,
            _feasible(report, candidate),
        )
        for candidate in shown
    ]


def same_key(candidate: Candidate) -> tuple[object, ...]:
    """Equal for one network under two settings; an anytime one is worth something else, so it stays apart."""
    choice = candidate.choice
    return (choice.exits, choice.heads, choice.thresholds, choice.setting == "anytime")


def _feasible(report: RunReport, candidate: Candidate) -> bool:
    score, reference = candidate.search, report.reference.candidate.search
    return all(
        check_constraint(bound, score, reference, score.latency_ns, score.worst_latency_ns).holds
        for bound in report.constraints
    )


@dataclass(frozen=True)
class StageRow:
    """A stage's time, and its share of the longest stage's."""

    stage: StageTime
    width: float


def stage_rows(report: RunReport) -> list[StageRow]:
    """Every stage in order."""
    longest = max((stage.seconds for stage in report.stages), default=1.0) or 1.0
    return [StageRow(stage, stage.seconds / longest) for stage in report.stages]


@dataclass(frozen=True)
class StateRow:
    """One item of the device's state before and after measuring."""

    name: str
    before: str
    after: str


def state_rows(report: RunReport) -> list[StateRow]:
    """Every item that was read, in the order of reading."""
    names = dict.fromkeys([*report.state_before, *report.state_after])
    return [
        StateRow(name, report.state_before.get(name, "not read"), report.state_after.get(name, "not read"))
        for name in names
    ]


METHODS = {"ltt": "Learn then Test", "crc": "conformal risk control"}


def promise(certificate: Certificate) -> str:
    """What a certificate says, in one sentence."""
    bound = f"{certificate.loss}: at most {certificate.epsilon:g}"
    if certificate.delta is None:
        return f"{bound} in expectation over images like those of the certify split."
    return f"{bound} on average, with probability {1 - certificate.delta:g} over the draw of the certify split."


def largest_loss(facts: QuantisationFacts) -> PrecisionScore:
    """The exit and head that quantisation costs most."""
    return min(facts.scores, key=lambda score: score.quantised - score.fp32)
