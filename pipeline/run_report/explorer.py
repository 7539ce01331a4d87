"""What the page needs to pick another point of the fronts: every Pareto point, what it is compared to, the command."""

import shlex
import tomllib

import msgspec

from pipeline.run_report import wording
from pipeline.run_report.candidate import Candidate, Choice, Setting
from pipeline.run_report.figures import reached_ns
from pipeline.run_report.record import RunReport

DECIDED_ANEW = ("setting", "run", "max-latency", "max-worst-latency", "min-miou", "max-drop", "max-cost", "deadline")
"""Options of the run that a picked point replaces."""


class Point(msgspec.Struct, frozen=True, array_like=True):
    """A Pareto point: mIoU and rates in 0..1 on the search split, latencies in ns by the latency table.

    `heads`: indices into `Explorer.heads`. `answers`: anytime only, when each exit has its answer and its mIoU.
    """

    exits: tuple[int, ...]
    heads: tuple[int, ...]
    thresholds: tuple[float, ...]
    miou: float
    latency_ns: float
    worst_ns: float
    rates: tuple[float, ...]
    answers: tuple[tuple[float, float], ...] = ()


class ExploredFront(msgspec.Struct, frozen=True):
    """The whole front of one setting, fastest point first. `complete`: proven to lack no point."""

    points: tuple[Point, ...]
    complete: bool
    deadlines_ns: tuple[float, ...] = ()


class Explorer(msgspec.Struct, frozen=True):
    """The content of the page's picker. `ask`, `bound`: the run's own question, "latency" (ns) or "drop" (of mIoU).

    `start_ns`: where the latency slider stands at first. `command`: what deploys a point, without setting, deadlines
    and bound (empty: the run's options can't be read).
    """

    source: str
    exits: tuple[str, ...]
    heads: tuple[str, ...]
    fronts: dict[str, ExploredFront]
    full: Point
    setting: str
    ask: str
    bound: float | None
    start_ns: float
    command: str


def explorer(report: RunReport) -> Explorer:
    """The picker of a report; it starts at the objective of the run."""
    everyone = (*report.front, *report.singles, report.reference.candidate)
    heads = tuple(dict.fromkeys(head for candidate in everyone for head in candidate.choice.heads))
    ask, bound = _asked(report)
    fronts: dict[str, ExploredFront] = {setting: _front(report, setting, heads) for setting in _settings(report)}
    return Explorer(
        source=f"{report.table.provenance}, {wording.unit(report.table)}",
        exits=report.exits,
        heads=heads,
        fronts=fronts,
        full=_point(report, report.reference.candidate, heads),
        setting=report.setting if report.setting in fronts else next(iter(fronts), ""),
        ask=ask,
        bound=bound,
        start_ns=report.chosen.candidate.search.latency_ns,
        command=_command(report),
    )


def _settings(report: RunReport) -> list[Setting]:
    order: tuple[Setting, ...] = ("adaptive", "budgeted", "anytime")
    return [setting for setting in order if any(c.choice.setting == setting for c in report.front)]


def _front(report: RunReport, setting: Setting, heads: tuple[str, ...]) -> ExploredFront:
    found = [candidate for candidate in report.front if candidate.choice.setting == setting]
    facts = next((facts for facts in report.fronts if facts.setting == setting), None)
    return ExploredFront(
        points=tuple(_point(report, c, heads) for c in sorted(found, key=lambda c: c.search.latency_ns)),
        complete=facts.optimal if facts else report.search.optimal,
        deadlines_ns=facts.deadlines_ns if facts else (),
    )


def _point(report: RunReport, candidate: Candidate, heads: tuple[str, ...]) -> Point:
    choice, score = candidate.choice, candidate.search
    return Point(
        exits=choice.exits,
        heads=tuple(heads.index(head) for head in choice.heads),
        thresholds=choice.thresholds,
        miou=round(score.miou, 7),
        latency_ns=round(score.latency_ns),
        worst_ns=round(score.worst_latency_ns),
        rates=tuple(round(rate, 5) for rate in score.exit_rates),
        answers=_answers(report, choice) if choice.setting == "anytime" else (),
    )


def _answers(report: RunReport, choice: Choice) -> tuple[tuple[float, float], ...]:
    alone = {(c.choice.exits[0], c.choice.heads[0]): c.search.miou for c in report.singles}
    mious = [alone.get(pair) for pair in zip(choice.exits, choice.heads, strict=True)]
    times = reached_ns(report, choice)
    return tuple((round(ns), round(miou, 7)) for ns, miou in zip(times, mious, strict=True) if miou is not None)


def _asked(report: RunReport) -> tuple[str, float | None]:
    """Which of the two questions the run asked, and its bound; a least mIoU counts as the loss it allows."""
    full = report.reference.candidate.search.miou
    for bound in report.constraints:
        if bound.kind == "max_latency":
            return "latency", bound.bound
        if bound.kind == "max_drop":
            return "drop", bound.bound
        if bound.kind == "min_miou":
            return "drop", max(0.0, full - bound.bound)
    return "latency", None


def _command(report: RunReport) -> str:
    """The run's own options without those that the picked point replaces; empty where they can't be read."""
    try:
        options = tomllib.loads(report.repeat.config)
    except tomllib.TOMLDecodeError:
        return ""
    flags = [f"--target {shlex.quote(report.target.name)}"]
    for name, value in options.items():
        if name in (*DECIDED_ANEW, "target") or value in ([], ""):
            continue
        flags.append(f"--{name}" if value is True else f"--{name} {shlex.quote(str(value))}")
    return f"python -m pipeline deploy {' '.join(flags)} --run {shlex.quote(f'runs/{report.run}-picked')}"
