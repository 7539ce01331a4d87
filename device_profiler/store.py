"""Measurements of all runs in one database: SQLite in the cache by default, PostgreSQL by URL for a lab.

A measurement is found by what was measured (key), on what (device fingerprint), for what (target) and how (protocol).
Rows are only ever added: a newer row answers before an older one, samples are never overwritten (the database itself
refuses; see device_profiler/migrations). Which database: what is given, else the environment's MESS_STORE, else a file
in the cache.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
from sqlalchemy import Select, create_engine, event, insert, select
from sqlalchemy.engine import URL, Connection, Engine, Row, make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, NoSuchModuleError, SQLAlchemyError

from device_profiler.claims import Claim, rows_to_write, take_claim
from device_profiler.errors import InputError
from device_profiler.files import cache_folder
from device_profiler.measurement import Measurement, Provenance
from device_profiler.store_schema import SCHEMA_VERSION, measurements, prepare, schema_of, workloads
from device_profiler.workload import Operator

PLACE_VARIABLE = "MESS_STORE"
PROTOCOL = "protocol"
"""Under this name `Measurement.versions` holds the protocol's version."""
_BUSY_TIMEOUT_S = 60
_CONNECT_TIMEOUT_S = 15
_ROWS_AT_ONCE = 200
_READ_ONLY = "read_only"


class StoredMeasurement(msgspec.Struct, frozen=True):
    """A measurement as kept: its number in the store, and when it was added (UTC)."""

    number: int
    added: datetime
    measurement: Measurement


class Store:
    """The measurements kept at `place`: a file, a URL, or None for MESS_STORE or the project's cache.

    Several processes may use it at once.

    Raises:
        InputError: the place can't be opened, is no store, or was written by a newer version of this program.
    """

    def __init__(self, place: Path | str | None = None) -> None:
        self._engine = _open(_url(place or os.environ.get(PLACE_VARIABLE) or None))

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
        with self._reading() as connection:
            record = connection.execute(question).scalar_one_or_none()
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
        rows: Sequence[Mapping[str, object]] = [_row(measurement) for measurement in taken]
        with self._writing() as connection:
            if claim:
                rows = rows_to_write(connection, claim, rows)
            if rows:
                connection.execute(insert(measurements), list(rows))
        return len(rows)

    def claim(self, job: str) -> Claim:
        """Begin the next try of `job`: earlier ones no longer write.

        Raises:
            InputError: the database can't be written.
        """
        with self._writing() as connection:
            return take_claim(connection, job)

    def operators(self, key: str) -> tuple[Operator, ...] | None:
        """The operators behind `key`, in order of execution, or None where nobody kept them. Raises: as `get`."""
        with self._reading() as connection:
            kept = connection.execute(select(workloads.c.operators).where(workloads.c.key == key)).scalar_one_or_none()
        return None if kept is None else self._decoded_operators(kept)

    def keep_operators(self, key: str, operators: Sequence[Operator]) -> None:
        """Keep the operators behind `key`; a structure's operators never change, so the first ones stay.

        Raises:
            InputError: the database can't be written.
        """
        if self.operators(key) is not None:
            return
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(workloads), {"key": key, "operators": msgspec.json.encode(operators)})
        except IntegrityError:
            return  # another process was first, with the same
        except SQLAlchemyError as error:
            raise self._refused("written", error) from error

    def _rows(self, question: Select[int, datetime, bytes]) -> Sequence[Row[int, datetime, bytes]]:
        """One page: between pages no lock is held, so others can write."""
        with self._reading() as connection:
            return connection.execute(question).all()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with _reading(self._engine) as connection:
                yield connection
        except SQLAlchemyError as error:
            raise self._refused("read", error) from error

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise self._refused("written", error) from error

    def _refused(self, doing: str, error: SQLAlchemyError) -> InputError:
        return InputError(f"the store {self.place} can't be {doing}: {_reason(error)}; see whether it is there and "
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


def _url(place: Path | str | None) -> URL:
    if place is None:
        place = cache_folder() / "measurements.sqlite"
    if isinstance(place, str) and "://" in place:
        try:
            return _with_driver(make_url(place))
        except (ArgumentError, ValueError) as error:
            scheme = place.split("://", 1)[0]
            raise InputError(f"the store {scheme}://... is no database URL; write sqlite:///FILE or "
                             "postgresql://USER@HOST/DATABASE") from error
    path = Path(place)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the store {path} can't be opened: {error.strerror}; give another one (--store)") from error
    return URL.create("sqlite", database=str(path))


def _with_driver(url: URL) -> URL:
    """PostgreSQL by psycopg, whatever SQLAlchemy takes by default."""
    return url.set(drivername="postgresql+psycopg") if url.drivername in ("postgresql", "postgres") else url


def _open(url: URL) -> Engine:
    try:
        if _is_sqlite(url):
            engine = create_engine(url, connect_args={"timeout": _BUSY_TIMEOUT_S})
            event.listen(engine, "connect", _leave_transactions_to_us)
            event.listen(engine, "begin", _begin)
        else:
            engine = create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": _CONNECT_TIMEOUT_S})
        _bring_up_to_date(engine)
    except ModuleNotFoundError as error:
        raise InputError(f"the store {url} wants the Python package {error.name}: "
                         "pip install 'mess-deploy[lab]'") from error
    except (SQLAlchemyError, NoSuchModuleError) as error:
        raise InputError(f"the store {url} can't be opened: {_reason(error)}; give another one, or mend it") from error
    return engine


def _bring_up_to_date(engine: Engine) -> None:
    """Look first: only a database that has to change is locked and written."""
    with _reading(engine) as connection:
        if schema_of(connection) == SCHEMA_VERSION:
            return
    with engine.begin() as connection:
        prepare(connection, str(engine.url))


def _reading(engine: Engine) -> Connection:
    return engine.connect().execution_options(**{_READ_ONLY: True})


def _leave_transactions_to_us(connection: object, record: object) -> None:
    connection.isolation_level = None  # type: ignore[attr-defined]


def _begin(connection: Connection) -> None:
    """Who writes takes the lock at once: a transaction that first reads and then writes could not wait for it."""
    connection.exec_driver_sql("BEGIN" if connection.get_execution_options().get(_READ_ONLY) else "BEGIN IMMEDIATE")


def _is_sqlite(url: URL) -> bool:
    return url.get_backend_name() == "sqlite"


def _reason(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error).splitlines()[0][:200]
