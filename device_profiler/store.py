"""Measurements of all runs in one database: SQLite in the cache by default, PostgreSQL by URL for a lab.

A measurement is found by what was measured (key), on what (device fingerprint), for what (target) and how (protocol).
Rows are only ever added: a newer row answers before an older one, samples are never overwritten (the database itself
refuses; see device_profiler/migrations). Which database: what is given, else the environment's MESS_STORE, else a file
in the cache.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import msgspec
from sqlalchemy import Select, func, insert, select, text
from sqlalchemy.engine import Connection, Row
from sqlalchemy.exc import SQLAlchemyError

from device_profiler.claims import Claim, rows_to_write, take_claim
from device_profiler.errors import InputError
from device_profiler.measurement import Measurement, Provenance
from device_profiler.store_engine import open_engine, reading, reason, was_cut
from device_profiler.store_schema import measurements, workloads
from device_profiler.workload import Operator

PROTOCOL = "protocol"
"""Under this name `Measurement.versions` holds the protocol's version."""
_ROWS_AT_ONCE = 200
_TRIES = 3
Answer = TypeVar("Answer")
_FIRST = text("INSERT INTO workloads (key, operators) VALUES (:key, :operators) ON CONFLICT (key) DO NOTHING")
"""Another process may have been first, with the same."""


class StoredMeasurement(msgspec.Struct, frozen=True):
    """A measurement as kept: its number in the store, and when it was added (UTC)."""

    number: int
    added: datetime
    measurement: Measurement


class Store:
    """The measurements kept at `place`: a file, a URL, or None for MESS_STORE or the project's cache.

    Several processes may use it at once. A server that was there is waited for when it goes; a `patient` store waits
    for it when it is opened too.

    Raises:
        InputError: the place can't be opened, is no store, or was written by a newer version of this program.
    """

    def __init__(self, place: Path | str | None = None, *, patient: bool = False) -> None:
        self._engine = open_engine(place, patient=patient)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def place(self) -> str:
        """Where it is, without a password."""
        return str(self._engine.url)

    @property
    def driver_url(self) -> str:
        """For SQLAlchemy and its tools: the URL with its driver, and with a password where there is one."""
        return self._engine.url.render_as_string(hide_password=False)

    def close(self) -> None:
        """Give back the connections."""
        self._engine.dispose()

    def get(self, key: str, device_fingerprint: str, target: str, protocol_version: str) -> Measurement | None:
        """The newest measurement of `key` on this device for this target by this protocol, or None.

        Raises:
            InputError: the database can't be read, or holds a record that this program does not understand.
        """
        question = (
            select(measurements.c.record)
            .where(measurements.c.key == key, measurements.c.device == device_fingerprint)
            .where(measurements.c.target == target, measurements.c.protocol == protocol_version)
            .order_by(measurements.c.id.desc())
            .limit(1)
        )
        record = self._read(lambda connection: connection.execute(question).scalar_one_or_none())
        return None if record is None else self._decoded(record)

    def find(
        self, *, targets: Sequence[str] = (), provenances: Sequence[Provenance] = ()
    ) -> Iterator[StoredMeasurement]:
        """Every measurement for one of `targets` with one of `provenances` (empty: any), in the order of adding.

        Raises: as `get`.
        """
        question = select(measurements.c.id, measurements.c.added, measurements.c.record).order_by(measurements.c.id)
        if targets:
            question = question.where(measurements.c.target.in_(targets))
        if provenances:
            question = question.where(measurements.c.provenance.in_(provenances))
        last = 0
        while rows := self._rows(question.where(measurements.c.id > last).limit(_ROWS_AT_ONCE)):
            for number, added, record in rows:
                yield StoredMeasurement(number, added.replace(tzinfo=UTC), self._decoded(record))
            last = rows[-1][0]

    def add(self, measurement: Measurement) -> None:
        """Keep a measurement beside those that are there.

        Raises:
            InputError: it does not say by which protocol it was taken, or the database can't be written.
        """
        self.add_all([measurement])

    def add_all(self, taken: Sequence[Measurement], claim: Claim | None = None) -> int:
        """Keep measurements: all of them, or none where one is refused; how many were written.

        With a `claim` only what nobody else measured since the claim was taken.

        Raises:
            InputError: as `add`.
            ClaimLostError: a later try of the claim's job has begun.
        """
        rows = [_row(measurement) for measurement in taken]
        newest = self._read(lambda connection: connection.execute(select(func.max(measurements.c.id))).scalar_one())

        def write(connection: Connection, again: bool) -> int:
            new = rows_to_write(connection, claim, rows) if claim else rows
            if again:  # the server may have gone after it had written
                new = _missing(connection, newest or 0, new)
            if new:
                connection.execute(insert(measurements), list(new))
            return len(new)

        return self._write(write)

    def claim(self, job: str) -> Claim:
        """Begin the next try of `job`: earlier ones no longer write.

        Raises:
            InputError: the database can't be written.
        """
        return self._write(lambda connection, again: take_claim(connection, job))

    def operators(self, key: str) -> tuple[Operator, ...] | None:
        """The operators behind `key`, in order of execution, or None where nobody kept them. Raises: as `get`."""
        question = select(workloads.c.operators).where(workloads.c.key == key)
        kept = self._read(lambda connection: connection.execute(question).scalar_one_or_none())
        return None if kept is None else self._decoded_operators(kept)

    def keep_operators(self, key: str, operators: Sequence[Operator]) -> None:
        """Keep the operators behind `key`; a structure's operators never change, so the first ones stay.

        Raises:
            InputError: the database can't be written.
        """
        if self.operators(key) is not None:
            return
        row = {"key": key, "operators": msgspec.json.encode(operators)}
        self._write(lambda connection, again: connection.execute(_FIRST, row))

    def _rows(self, question: Select[int, datetime, bytes]) -> Sequence[Row[int, datetime, bytes]]:
        """One page: between pages no lock is held, so others can write."""
        return self._read(lambda connection: connection.execute(question).all())

    def _read(self, work: Callable[[Connection], Answer]) -> Answer:
        """What `work` reads; begun anew where the server goes meanwhile."""

        def once(again: bool) -> Answer:
            with reading(self._engine) as connection:
                return work(connection)

        return self._done("read", once)

    def _write(self, work: Callable[[Connection, bool], Answer]) -> Answer:
        """`work(connection, again)` in a transaction; `again` where the server went while an earlier try wrote.

        Raises:
            InputError: the database can't be written.
        """

        def once(again: bool) -> Answer:
            with self._engine.begin() as connection:
                return work(connection, again)

        return self._done("written", once)

    def _done(self, doing: str, once: Callable[[bool], Answer]) -> Answer:
        for left in reversed(range(_TRIES)):
            try:
                return once(left < _TRIES - 1)
            except SQLAlchemyError as error:
                if not left or not was_cut(error):
                    raise self._refused(doing, error) from error
        raise AssertionError("the last try returns or raises")

    def _refused(self, doing: str, error: SQLAlchemyError) -> InputError:
        return InputError(f"the store {self.place} can't be {doing}: {reason(error)}; see whether it is there and "
                          "writable, or give another one (--store)")

    def _decoded(self, record: bytes) -> Measurement:
        try:
            return msgspec.json.decode(record, type=Measurement)
        except msgspec.MsgspecError as error:
            raise self._not_understood(error) from error

    def _decoded_operators(self, kept: bytes) -> tuple[Operator, ...]:
        try:
            return msgspec.json.decode(kept, type=tuple[Operator, ...])
        except msgspec.MsgspecError as error:
            raise self._not_understood(error) from error

    def _not_understood(self, error: msgspec.MsgspecError) -> InputError:
        return InputError(f"the store {self.place} holds a record that this program does not understand ({error}): "
                          "another version wrote it; update this program or give another store (--store)")


def _missing(
    connection: Connection, newest: int, rows: Sequence[Mapping[str, object]]
) -> list[Mapping[str, object]]:
    """Those of `rows` that were not written since `newest` was the newest row."""
    there = set(connection.execute(select(measurements.c.record).where(measurements.c.id > newest)).scalars())
    return [row for row in rows if row["record"] not in there]


def _row(measurement: Measurement) -> dict[str, object]:
    """The row of a measurement: the record, and the columns by which it is asked for."""
    if PROTOCOL not in measurement.versions:
        raise InputError(f"measurement of {measurement.entry} lacks versions[{PROTOCOL!r}]")
    return {
        "key": measurement.key,
        "device": measurement.identity.fingerprint,
        "target": measurement.target,
        "protocol": measurement.versions[PROTOCOL],
        "added": datetime.now(UTC).replace(tzinfo=None),
        "record": msgspec.json.encode(measurement),
        "entry": measurement.entry,
        "provenance": measurement.provenance,
        "requested_unit": measurement.requested_unit,
        "actual_unit": measurement.actual_unit,
        "median_ns": measurement.median_ns,
    }
