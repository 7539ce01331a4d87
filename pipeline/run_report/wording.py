"""Figures as people read them: durations, percentages, configurations, provenance."""

from collections.abc import Sequence
from datetime import datetime

from pipeline.run_report.candidate import Choice, Score
from pipeline.run_report.record import Constraint
from pipeline.run_report.timing import Timing, TimingSource

THIN = "\N{NARROW NO-BREAK SPACE}"

PROVENANCE_MEANING = {
    "measured": "timed on a real phone",
    "imported": "timed on a real phone by another tool, taken over from its report",
    "emulated": "counted on an emulated phone's virtual clock: the real programs ran, the time is an estimate",
    "predicted": "computed by a model of the device: the programs ran elsewhere, nothing was timed",
}


def significant(value: float, digits: int = 3) -> str:
    """`value` with so many significant digits, never in exponent form, thousands kept whole."""
    if value == 0:
        return "0"
    exponent = int(f"{value:.{digits - 1}e}".split("e")[1])
    return f"{value:,.{max(0, digits - 1 - exponent)}f}"


def duration(ns: float) -> str:
    """Nanoseconds in the unit that reads best, three significant digits."""
    for size, unit in ((1e9, "s"), (1e5, "ms"), (1e2, "µs")):
        if abs(ns) >= size:
            scale = {"s": 1e9, "ms": 1e6, "µs": 1e3}[unit]
            return f"{significant(ns / scale)}{THIN}{unit}"
    return f"{significant(ns)}{THIN}ns"


def seconds(value: float) -> str:
    """Wall time: "0.4 s", "42 s", "3 min 05 s"."""
    if value < 60:
        return f"{value:.1f}{THIN}s" if value < 10 else f"{value:.0f}{THIN}s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes}{THIN}min {rest:02d}{THIN}s"


def percent(share: float, digits: int = 1) -> str:
    """A share of one as a percentage."""
    return f"{100 * share:.{digits}f}{THIN}%"


def points(difference: float) -> str:
    """A difference of two shares in percentage points, with its sign."""
    value = round(100 * difference, 1)
    return f"{'−' if value < 0 else '+' if value > 0 else '±'}{abs(value):.1f}{THIN}pp"


def deviation(share: float) -> str:
    """How far a figure lies off, in per cent with its sign."""
    value = round(100 * share, 1)
    return f"{'−' if value < 0 else '+' if value > 0 else '±'}{abs(value):.1f}{THIN}%"


def size(count: float) -> str:
    """Bytes in kB or MB (powers of ten)."""
    return f"{significant(count / 1e6)}{THIN}MB" if count >= 1e6 else f"{significant(count / 1e3)}{THIN}kB"


def work(macs: float) -> str:
    """Multiply-adds in millions or thousand millions."""
    return f"{significant(macs / 1e9)}{THIN}GMAC" if macs >= 1e9 else f"{significant(macs / 1e6)}{THIN}MMAC"


def ratio(value: float) -> str:
    """A speed-up: "1.63×"."""
    return f"{value:.2f}×"


def configuration(choice: Choice, exits: Sequence[str], thresholds: bool = True) -> str:
    """A configuration in one line: "exit2 lraspp-r2 (leave at 0.912) → exit5 fcn-r1"."""
    return " → ".join(
        f"{exits[exit]} {head}"
        + (f" (leave at {choice.thresholds[n]:.3f})" if thresholds and n < len(choice.thresholds) else "")
        for n, (exit, head) in enumerate(zip(choice.exits, choice.heads, strict=True))
    )


def rates(choice: Choice, score: Score, exits: Sequence[str]) -> str:
    """Who leaves where in one line: "exit2 61.0 %, exit5 39.0 %"."""
    return ", ".join(
        f"{exits[exit]} {percent(rate)}" for exit, rate in zip(choice.exits, score.exit_rates, strict=True)
    )


def constraint(bound: Constraint) -> str:
    """A constraint as a phrase that follows "subject to"."""
    return {
        "max_latency": f"expected latency at most {duration(bound.bound)}",
        "max_worst_latency": f"full path at most {duration(bound.bound)}",
        "min_miou": f"mIoU at least {percent(bound.bound)}",
        "max_drop": f"at most {100 * bound.bound:g}{THIN}pp below the full network",
    }[bound.kind]


def mark(bound: Constraint) -> str:
    """A constraint in the few words that fit beside its rule in a chart."""
    if bound.kind == "max_drop":
        return f"full network − {100 * bound.bound:g}{THIN}pp"
    return f"at {'least' if bound.kind == 'min_miou' else 'most'} {_amount(bound)}"


def _amount(bound: Constraint) -> str:
    return percent(bound.bound) if bound.kind in ("min_miou", "max_drop") else duration(bound.bound)


def objective(bounds: Sequence[Constraint], deadlines_ns: Sequence[float] = ()) -> str:
    """The goal in words: what was made small or large, subject to which bounds; deadlines are an anytime result's."""
    cheapest = any(bound.kind in ("min_miou", "max_drop") for bound in bounds)
    goal = "Lowest expected latency" if cheapest else "Highest mIoU"
    if deadlines_ns:
        read = " and ".join(duration(deadline) for deadline in deadlines_ns)
        goal = f"{'Lowest full path' if cheapest else goal}, the answer read after {read}"
    return f"{goal}, {' and '.join(constraint(bound) for bound in bounds)}" if bounds else goal


def limit(bounds: Sequence[Constraint], value: float) -> str:
    """The best value of the objective that the search could not rule out."""
    cheapest = any(bound.kind in ("min_miou", "max_drop") for bound in bounds)
    return duration(value) if cheapest else percent(value, 2)


def interval(timing: Timing) -> str:
    """The 95 % interval in words; why there is none, where there is none."""
    if timing.low_ns != timing.high_ns:
        return f"{duration(timing.low_ns)} to {duration(timing.high_ns)}"
    reasons = {"emulated": "none: instructions are counted", "predicted": "none: computed"}
    return reasons.get(timing.source.provenance, "no spread")


def unit(source: TimingSource) -> str:
    """The unit that a latency belongs to; where another was asked for, both."""
    asked, actual = source.requested_unit.upper(), source.actual_unit.upper()
    return actual if asked == actual else f"{actual}, asked for {asked}"


def moment(created: str) -> str:
    """An ISO 8601 time as "21 November 2026, 22:58 UTC"; anything else is shown as it stands."""
    try:
        when = datetime.fromisoformat(created)
    except ValueError:
        return created
    return f"{when.day} {when:%B %Y, %H:%M} {when.tzname() or ''}".rstrip()
