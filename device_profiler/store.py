"""Measurements of all runs in one database: SQLite in the cache by default, any SQLAlchemy URL for a lab.

A measurement is found by what was measured (key), on what (device fingerprint), for what (target) and how (protocol).
Rows are only ever added: a newer row answers before an older one, samples are never overwritten.
"""

from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
from sqlalchemy import (
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    func,
    insert,
    select,
)
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from device_profiler.errors import InputError
from device_profiler.files import cache_folder
from device_profiler.measurement import Measurement

SCHEMA_VERSION = 1
PROTOCOL = "protocol"
"""Under this name `Measurement.versions` holds the protocol's version."""
_BUSY_TIMEOUT_S = 60

_metadata = MetaData()
_schema = Table("store_schema", _metadata, Column("version", Integer, primary_key=True, autoincrement=False))
_measurements = Table(
    "measurements",
    _metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("key", String(200), nullable=False),
    Column("device", String(500), nullable=False),
    Column("target", String(100), nullable=False),
    Column("protocol", String(200), nullable=False),
    Column("added", DateTime, nullable=False, server_default=func.now()),
    Column("record", LargeBinary, nullable=False),
    Index("measurements_question", "key", "device", "target", "protocol"),
)


class Store:
    """The measurements kept at `place`: a file, a URL, or None for the project's cache. Several processes may use it.

    Raises:
        InputError: the place can't be opened, is no store, or was written by a newer version of this program.
    """

    def __init__(self, place: Path | str | None = None) -> None:
        self._engine = _open(_url(place))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back the connections."""
        self._engine.dispose()

    def get(self, key: str, device_fingerprint: str, target: str, protocol_version: str) -> Measurement | None:
        """The newest measurement of `key` on this device for this target by this protocol, or None."""
        question = (
            select(_measurements.c.record)
            .where(_measurements.c.key == key, _measurements.c.device == device_fingerprint)
            .where(_measurements.c.target == target, _measurements.c.protocol == protocol_version)
            .order_by(_measurements.c.id.desc())
            .limit(1)
        )
        with self._engine.connect() as connection:
            record = connection.execute(question).scalar_one_or_none()
        return None if record is None else msgspec.json.decode(record, type=Measurement)

    def add(self, measurement: Measurement) -> None:
        """Keep a measurement beside those that are there.

        Raises:
            InputError: it does not say by which protocol it was taken, or the database can't be written.
        """
        if PROTOCOL not in measurement.versions:
            raise InputError(f"measurement of {measurement.entry} lacks versions[{PROTOCOL!r}]")
        row = {
            "key": measurement.key,
            "device": measurement.identity.fingerprint,
            "target": measurement.target,
            "protocol": measurement.versions[PROTOCOL],
            "record": msgspec.json.encode(measurement),
        }
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(_measurements), row)
        except SQLAlchemyError as error:
            raise InputError(f"the store {self._engine.url} can't be written: {_reason(error)}") from error


def _url(place: Path | str | None) -> URL:
    if place is None:
        place = cache_folder() / "measurements.sqlite"
    if isinstance(place, str) and "://" in place:
        try:
            return make_url(place)
        except ArgumentError as error:
            raise InputError(f"store {place!r} is no database URL (such as sqlite:///FILE)") from error
    path = Path(place)
    path.parent.mkdir(parents=True, exist_ok=True)
    return URL.create("sqlite", database=str(path))


def _open(url: URL) -> Engine:
    try:
        engine = create_engine(url, connect_args={"timeout": _BUSY_TIMEOUT_S} if _is_sqlite(url) else {})
        if _is_sqlite(url):
            event.listen(engine, "connect", _leave_transactions_to_us)
            event.listen(engine, "begin", _begin_for_writing)
        with engine.begin() as connection:
            _prepare(connection, url)
    except (SQLAlchemyError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise InputError(f"the store {url} can't be opened: {_reason(error)}; give another one, or mend it") from error
    return engine


def _prepare(connection: Connection, url: URL) -> None:
    """Make the tables where there are none; SQLite's write lock makes this one process's work."""
    _metadata.create_all(connection)
    version = connection.execute(select(func.max(_schema.c.version))).scalar_one()
    if version is None:
        connection.execute(insert(_schema), {"version": SCHEMA_VERSION})
    elif version > SCHEMA_VERSION:
        raise InputError(
            f"the store {url} has schema {version}, this program knows {SCHEMA_VERSION}: it was written by a newer "
            "version; update this program or give another store"
        )


def _leave_transactions_to_us(connection: object, record: object) -> None:
    connection.isolation_level = None  # type: ignore[attr-defined]


def _begin_for_writing(connection: Connection) -> None:
    """Take the write lock at once: a transaction that first reads and then writes could not wait for it."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _is_sqlite(url: URL) -> bool:
    return url.get_backend_name() == "sqlite"


def _reason(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error).splitlines()[0][:200]
