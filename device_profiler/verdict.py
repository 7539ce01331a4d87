"""Did the accelerator run? PROVEN, PLAUSIBLE or REFUTED, from counters, rails, the delegate's word and a CPU control.

PROVEN: a counter grew by exactly the runs, or a rail of the unit drew more than it does at rest. PLAUSIBLE: the whole
graph was delegated, and its time differs from a forced-CPU control on the same inputs. REFUTED: something speaks
against it, or nothing for it: a count of delegated nodes is no proof.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from device_profiler.intervals import Interval
from device_profiler.measurement import Verdict
from device_profiler.targets import Unit
from device_profiler.witness import Growth

RAIL_FACTOR = 3.0
"""A rail that draws so many times its power at rest was used."""
RESTING_FACTOR = 1.2
"""One that draws less than this many times its power at rest was not."""
DISTINCT = 0.1
"""Two times are distinct where their intervals are disjoint and the medians differ by this share at least."""
_LEAST_SECONDS = 1e-3

Says = Literal["proves", "against", "nothing"]


@dataclass(frozen=True)
class Evidence:
    """What is known of one figure of `unit`. `runs`: inferences that were asked for between the readings.

    `during`, `resting`: the phone's own witnesses over the runs and over a time without any. `delegated`: whether the
    runtime says that the whole graph ran on the delegate; `fallbacks`: operators off it that were not declared at
    export. `time`, `control`: of the unit, and of the CPU forced on the same inputs. `emulated`: the phone declares it.
    """

    unit: Unit
    runs: int
    during: Growth
    resting: Growth
    delegated: bool
    time: Interval
    control: Interval | None
    fallbacks: tuple[str, ...] = ()
    emulated: bool = False


def judge(evidence: Evidence) -> Verdict:
    """The verdict with every reason, for and against."""
    found = [*_by_delegate(evidence), *_by_counter(evidence), *_by_rails(evidence)]
    distinct, told = _by_control(evidence)
    reasons = [reason for _, reason in found] + [told]
    if evidence.emulated:
        reasons.append("the phone is emulated: its witnesses are stand-ins, no accelerator exists there")
    says = {word for word, _ in found}
    if "against" in says:
        kind: Literal["PROVEN", "PLAUSIBLE", "REFUTED"] = "REFUTED"
    elif "proves" in says:
        kind = "PROVEN"
    else:
        kind = "PLAUSIBLE" if evidence.delegated and distinct else "REFUTED"
    return Verdict(kind, evidence.unit, tuple(reasons), evidence.emulated)


def _by_delegate(evidence: Evidence) -> Iterator[tuple[Says, str]]:
    if evidence.fallbacks:
        yield "against", f"operators fell off the delegate undeclared: {', '.join(evidence.fallbacks)}"
    elif evidence.delegated:
        yield "nothing", "the runtime says that the delegate took the whole graph (which alone proves nothing)"
    else:
        yield "against", "the runtime does not say that the delegate took the whole graph"


def _by_counter(evidence: Evidence) -> Iterator[tuple[Says, str]]:
    grown = evidence.during.inferences
    if grown is None:
        yield "nothing", "no counter of inferences can be read"
    elif grown == evidence.runs:
        yield "proves", f"the counter of inferences grew by {grown}, exactly the runs"
    elif grown < evidence.runs:
        yield "against", f"the counter of inferences grew by {grown}, there were {evidence.runs} runs"
    else:
        yield "nothing", f"the counter of inferences grew by {grown} in {evidence.runs} runs: somebody else used it too"


def _by_rails(evidence: Evidence) -> Iterator[tuple[Says, str]]:
    shared = evidence.during.rails_mj.keys() & evidence.resting.rails_mj.keys()
    if not shared or min(evidence.during.seconds, evidence.resting.seconds) < _LEAST_SECONDS:
        yield "nothing", "no power rail of the unit can be read"
        return
    busy = sum(evidence.during.rails_mj[rail] for rail in shared) / evidence.during.seconds
    idle = sum(evidence.resting.rails_mj[rail] for rail in shared) / evidence.resting.seconds
    told = f"{', '.join(sorted(shared))} drew {busy:.1f} mW during the runs, {idle:.1f} mW at rest"
    if busy >= RAIL_FACTOR * idle and busy > 0:
        yield "proves", told
    elif busy <= RESTING_FACTOR * idle or busy == 0:
        yield "against", told
    else:
        yield "nothing", told


def _by_control(evidence: Evidence) -> tuple[bool, str]:
    """Whether the unit's time is distinct from the CPU's, and how that is said."""
    time, control = evidence.time, evidence.control
    if control is None:
        return False, "there is no forced-CPU control to compare with"
    ratio = control.median / time.median
    apart = time.high < control.low or control.high < time.low
    distinct = apart and abs(ratio - 1) >= DISTINCT
    told = f"the forced-CPU control takes {ratio:.2f} times as long ({control.median / 1e6:.3f} ms)"
    return distinct, told if distinct else f"{told}: not distinct"
