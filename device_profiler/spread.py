"""How far units of one phone model lie apart, and how much of that the golden model explains.

Two phones of a model differ: in silicon, in the age of their batteries, in what else they run. Only figures of the same
part, build of the system, target and protocol are compared.
"""

import re
import statistics
from collections.abc import Iterable, Sequence

import msgspec

from device_profiler.measurement import Measurement
from device_profiler.store import Store

_UNIT = re.compile(r"(?P<phone>.*) unit:(?P<unit>\S+)")
"""What telling units apart adds to a fingerprint."""


class UnitFigure(msgspec.Struct, frozen=True):
    """One unit's median [ns] of a part, and of the golden model in the same session (None: none ran beside it)."""

    unit: str
    median_ns: float
    golden_ns: float | None


class PartSpread(msgspec.Struct, frozen=True):
    """One part on every unit that measured it, two at least, in the units' order."""

    entry: str
    key: str
    units: tuple[UnitFigure, ...]

    @property
    def spread(self) -> float:
        """How much slower the slowest unit is than the fastest: 0.1 is 10 %."""
        return _spread([one.median_ns for one in self.units])

    @property
    def normalised(self) -> float | None:
        """The same of times in golden runs; None where a unit has no golden figure."""
        golden = [one.golden_ns for one in self.units]
        if None in golden:
            return None
        return _spread([one.median_ns / one.golden_ns for one in self.units if one.golden_ns])


class Spread(msgspec.Struct, frozen=True):
    """The units of one phone model under one build, for one target. `phone`: the fingerprint that they share."""

    phone: str
    target: str
    units: tuple[str, ...]
    parts: tuple[PartSpread, ...]

    @property
    def median(self) -> float:
        """The middle one of the parts' spreads."""
        return statistics.median(part.spread for part in self.parts)

    @property
    def normalised(self) -> float | None:
        """The middle one of the parts' normalised spreads; None where no part has one."""
        known = [part.normalised for part in self.parts if part.normalised is not None]
        return statistics.median(known) if known else None


def find_spread(store: Store, targets: Sequence[str] = ()) -> list[Spread]:
    """Every phone model of which the store has two units or more; of a unit, each part's newest figure.

    Predicted figures are left out: a device model knows no units.

    Raises: as `Store.find`.
    """
    newest: dict[tuple[str, str, str], dict[str, dict[str, Measurement]]] = {}
    for kept in store.find(targets=targets, provenances=("measured", "imported", "emulated")):
        one = kept.measurement
        match = _UNIT.fullmatch(one.identity.fingerprint)
        if match:
            question = (match["phone"], one.target, f"{one.versions['protocol']} {one.provenance}")
            newest.setdefault(question, {}).setdefault(one.key, {})[match["unit"]] = one
    found = (_spread_of(phone, target, parts.values()) for (phone, target, _), parts in sorted(newest.items()))
    return [spread for spread in found if spread.parts]


def golden_ns(measurement: Measurement) -> float | None:
    """Median of the golden model's runs around the blocks that count [ns]; None where it did not run."""
    runs = [
        time for block in measurement.blocks if block.verdict == "valid"
        for time in (*block.golden_first_ns, *block.golden_last_ns)
    ]
    return float(statistics.median(runs)) if runs else None


def _spread_of(phone: str, target: str, parts: Iterable[dict[str, Measurement]]) -> Spread:
    found = tuple(_part(by_unit) for by_unit in parts if len(by_unit) > 1)
    units = sorted({one.unit for part in found for one in part.units})
    return Spread(phone, target, tuple(units), found)


def _part(by_unit: dict[str, Measurement]) -> PartSpread:
    figures = tuple(UnitFigure(unit, one.median_ns, golden_ns(one)) for unit, one in sorted(by_unit.items()))
    one = next(iter(by_unit.values()))
    return PartSpread(one.entry, one.key, figures)


def _spread(times: Sequence[float]) -> float:
    return max(times) / min(times) - 1
