"""The top of the page: what was chosen and what it gains, in words and a few figures."""

from dataclasses import dataclass

from pipeline.run_report import wording
from pipeline.run_report.candidate import Candidate, Score, Whole
from pipeline.run_report.figures import SpeedUp, expected, final_score, is_strongest_single, speed_up, worst
from pipeline.run_report.record import RunReport
from pipeline.run_report.timing import Timing


@dataclass(frozen=True)
class Compared:
    """A network of the comparison, timed whole. `speed_up`: of the chosen one over this one."""

    name: str
    role: str
    configuration: str
    timing: Timing
    worst: Timing
    score: Score
    macs: float | None
    speed_up: SpeedUp | None
    width: float
    """Expected latency as a share of the slowest one's."""


@dataclass(frozen=True)
class Decision:
    """Headline, the figures beside it, and the networks compared: chosen, strongest single exit, full network."""

    headline: str
    chosen: Compared
    strongest: Compared
    reference: Compared
    alone: bool
    """The chosen configuration is itself the strongest single-exit network."""
    split: str
    """Whose images weigh the paths and give the mIoU."""

    @property
    def compared(self) -> list[Compared]:
        """The rows of the comparison, each network once."""
        return [self.chosen, self.reference] if self.alone else [self.chosen, self.strongest, self.reference]

    @property
    def drop(self) -> float:
        """mIoU of the chosen configuration less the full network's."""
        return self.chosen.score.miou - self.reference.score.miou


def decide(report: RunReport) -> Decision:
    """The top of the page for a report."""
    alone = is_strongest_single(report)
    return Decision(
        headline=_headline(report, alone),
        chosen=_compared(report, report.chosen, "Chosen", wording.objective(report.constraints, report.deadlines_ns)),
        strongest=_compared(
            report,
            report.strongest_single,
            "Strongest single exit",
            "the honest yardstick: the best network of the space with one exit, its head chosen by the same search",
        ),
        reference=_compared(report, report.reference, "Full network", "the whole backbone with its last exit"),
        alone=alone,
        split="test" if report.chosen.candidate.test else "search",
    )


def _headline(report: RunReport, alone: bool) -> str:
    choice = report.chosen.candidate.choice
    names = [report.exits[exit] for exit in choice.exits]
    if report.deadlines_ns:
        above = final_score(report.chosen.candidate).miou - final_score(report.strongest_single.candidate).miou
        where = f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else f"{names[0]} alone"
        return f"Answers from {where} as time allows" + (
            "" if alone else f": {wording.points(above)} of mIoU against the best single exit at these deadlines"
        )
    what = f"{names[0]} alone" if len(names) == 1 else f"A cascade of {', '.join(names[:-1])} and {names[-1]}"
    other, words = (
        (report.reference, "full network") if alone else (report.strongest_single, "strongest single-exit network")
    )
    gain = speed_up(expected(report.chosen), expected(other))
    if gain is None:
        return f"{what} for {report.target.device}"
    if gain.value < 1:
        return f"{what}, at {wording.ratio(gain.value)} the speed of the {words}"
    return f"{what}, {wording.ratio(gain.value)} faster than the {words}"


def _compared(report: RunReport, whole: Whole, name: str, role: str) -> Compared:
    timing = expected(whole)
    slowest = max(expected(w).ns for w in (report.chosen, report.strongest_single, report.reference))
    candidate: Candidate = whole.candidate
    return Compared(
        name=name,
        role=role,
        configuration=wording.configuration(candidate.choice, report.exits),
        timing=timing,
        worst=worst(whole),
        score=final_score(candidate),
        macs=candidate.macs,
        speed_up=speed_up(expected(report.chosen), timing),
        width=timing.ns / slowest,
    )
