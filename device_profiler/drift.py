"""What a system update changed: the same parts on the same phone, before and after.

A phone's fingerprint names its build, so figures of two builds are never taken for one another; here they are compared.
"""

import re
import statistics
from collections.abc import Iterable, Sequence
from itertools import pairwise

import msgspec

from device_profiler.measurement import Measurement
from device_profiler.store import Store

_FINGERPRINT = re.compile(r"(?P<product>[^:\s]+):(?P<build>\S+)(?P<rest>.*)")
"""Android's: brand/product/device:release/id/incremental:type/tags; then what this project adds (unit, emulation)."""


class PartDrift(msgspec.Struct, frozen=True):
    """One part: medians [ns], and whether their 95 % intervals lie apart."""

    entry: str
    key: str
    before_ns: float
    after_ns: float
    clear: bool

    @property
    def change(self) -> float:
        """0.1 is 10 % slower."""
        return self.after_ns / self.before_ns - 1


class Drift(msgspec.Struct, frozen=True):
    """One phone, one target, two builds of the system in the order in which they were first measured."""

    phone: str
    target: str
    before: str
    after: str
    parts: tuple[PartDrift, ...]

    @property
    def median(self) -> float:
        """The middle one of the parts' changes."""
        return statistics.median(part.change for part in self.parts)


def find_drift(store: Store, targets: Sequence[str] = ()) -> list[Drift]:
    """Every update that the store saw: parts measured under a build and the one before it, by the same protocol.

    Predicted figures are left out: a device model knows nothing of updates.

    Raises: as `Store.find`.
    """
    newest: dict[tuple[str, str, str], dict[str, dict[str, Measurement]]] = {}
    for kept in store.find(targets=targets, provenances=("measured", "imported", "emulated")):
        one = kept.measurement
        phone, build = split_fingerprint(one.identity.fingerprint)
        question = (phone, one.target, f"{one.versions['protocol']} {one.provenance}")
        newest.setdefault(question, {}).setdefault(build, {})[one.key] = one
    return [drift for (phone, target, _), builds in sorted(newest.items()) for drift in _drifts(phone, target, builds)]


def split_fingerprint(fingerprint: str) -> tuple[str, str]:
    """The phone, and the build of its system: what an update changes."""
    match = _FINGERPRINT.fullmatch(fingerprint)
    if not match:
        return "", fingerprint
    return f"{match['product']}{match['rest']}", match["build"]


def _drifts(phone: str, target: str, builds: dict[str, dict[str, Measurement]]) -> Iterable[Drift]:
    names = list(builds)
    for before, after in pairwise(names):
        both = [key for key in builds[before] if key in builds[after]]
        if both:
            yield Drift(phone, target, before, after,
                        tuple(_part(builds[before][key], builds[after][key]) for key in both))


def _part(before: Measurement, after: Measurement) -> PartDrift:
    apart = before.high_ns < after.low_ns or after.high_ns < before.low_ns
    return PartDrift(after.entry, after.key, before.median_ns, after.median_ns, apart)
