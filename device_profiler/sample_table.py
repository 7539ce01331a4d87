"""One row a sample: the table that exports write, and that `devices import` reads (docs/measurement-exchange.md)."""

from collections.abc import Iterator
from typing import Literal

import msgspec

from device_profiler.store import PROTOCOL, StoredMeasurement

SCHEMA = 1
Series = Literal["timed", "executed"]


class SampleRow(msgspec.Struct, frozen=True):
    """One sample with what it belongs to. The columns are named in docs/measurement-exchange.md.

    `measurement`: its number in the store that was exported; `sample`: from 0 within a series; `series`: "timed" are
    the samples of the figure, "executed" those of the run behind a predicted one, on `actual_unit`; `added`: ISO 8601,
    UTC; times in ns.
    """

    measurement: int
    series: Series
    sample: int
    ns: int
    key: str
    entry: str
    target: str
    requested_unit: str
    actual_unit: str
    provenance: str
    verdict: str
    device: str
    soc: str
    os: str
    fingerprint: str
    clock: str
    protocol: str
    added: str
    load_ns: int
    first_ns: int
    note: str


COLUMNS: tuple[str, ...] = SampleRow.__struct_fields__


def rows_of(kept: StoredMeasurement) -> Iterator[SampleRow]:
    """The rows of one measurement: its timed samples, then the executed ones."""
    taken, identity = kept.measurement, kept.measurement.identity
    series: tuple[tuple[Series, tuple[int, ...]], ...] = (("timed", taken.samples_ns), ("executed", taken.executed_ns))
    for name, samples in series:
        for index, ns in enumerate(samples):
            yield SampleRow(
                measurement=kept.number,
                series=name,
                sample=index,
                ns=ns,
                key=taken.key,
                entry=taken.entry,
                target=taken.target,
                requested_unit=taken.requested_unit,
                actual_unit=taken.actual_unit,
                provenance=taken.provenance,
                verdict=taken.verdict.kind if taken.verdict else "",
                device=identity.model,
                soc=identity.soc,
                os=identity.android,
                fingerprint=identity.fingerprint,
                clock=identity.clock,
                protocol=taken.versions[PROTOCOL],
                added=kept.added.isoformat(timespec="seconds"),
                load_ns=taken.load_ns,
                first_ns=taken.first_ns,
                note=taken.note,
            )
