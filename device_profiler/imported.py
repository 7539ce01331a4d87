"""Figures that another tool took on a real phone: what an import must say of them, and how they become measurements."""

from dataclasses import dataclass

from device_profiler.errors import InputError
from device_profiler.intervals import median_interval
from device_profiler.measurement import DeviceIdentity, Measurement
from device_profiler.store import PROTOCOL, Store
from device_profiler.store_schema import KEY_LENGTH

IMPORT_PROTOCOL = "imported 1"
SOURCE = "source"
"""Under this name `Measurement.versions` holds the hash of the file that a figure was read from."""
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Foreign:
    """One figure as another tool gives it. `samples_ns`: every run; `tool`: who timed it, with its version."""

    key: str
    entry: str
    target: str
    requested_unit: str
    actual_unit: str
    samples_ns: tuple[int, ...]
    device: str
    soc: str
    os: str
    fingerprint: str
    tool: str
    note: str
    load_ns: int = 0
    first_ns: int = 0


def measurement_of(foreign: Foreign, source: str) -> Measurement:
    """The measurement to keep: provenance "imported", under a protocol of its own, so that it never passes for ours.

    `source`: hash of the file that it was read from.
    """
    interval = median_interval([foreign.samples_ns])
    return Measurement(
        key=foreign.key,
        entry=foreign.entry,
        target=foreign.target,
        requested_unit=foreign.requested_unit,
        actual_unit=foreign.actual_unit,
        provenance="imported",
        samples_ns=foreign.samples_ns,
        median_ns=interval.median,
        low_ns=interval.low,
        high_ns=interval.high,
        load_ns=foreign.load_ns,
        first_ns=foreign.first_ns,
        peak_rss_kb=0,
        identity=_identity(foreign),
        state_before={},
        state_after={},
        versions={PROTOCOL: IMPORT_PROTOCOL, "tool": foreign.tool, SOURCE: source},
        note=foreign.note,
    )


def keep_imported(store: Store, taken: list[Measurement], source: str) -> None:
    """Add the figures of one file, all or none.

    Raises:
        InputError: the store has this file's figures already: kept twice, they would count twice.
    """
    if any(kept.measurement.versions.get(SOURCE) == source for kept in store.find(provenances=["imported"])):
        raise InputError(f"the store {store.place} has the figures of this file already (SHA-256 {source[:12]}...); "
                         "nothing was imported")
    store.add_all(taken)


def long_key(key: str) -> str | None:
    """What is wrong with a key that is to be kept, or None."""
    if not key:
        return "a key is the hash of what was measured, not empty"
    return f"a key has at most {KEY_LENGTH} characters, this one has {len(key)}" if len(key) > KEY_LENGTH else None


def _identity(foreign: Foreign) -> DeviceIdentity:
    return DeviceIdentity(
        address="",
        model=foreign.device,
        soc=foreign.soc,
        abi=UNKNOWN,
        android=foreign.os,
        fingerprint=foreign.fingerprint,
        emulated=False,
        clock="wall",
    )
