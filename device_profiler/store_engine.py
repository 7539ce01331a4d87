"""How a store's database is reached: its URL, the engine, and patience with a server that is started again."""

import os
import time
from pathlib import Path

from sqlalchemy import create_engine, event
from sqlalchemy.engine import URL, Connection, Dialect, Engine, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from device_profiler.errors import InputError
from device_profiler.files import cache_folder
from device_profiler.store_schema import SCHEMA_VERSION, prepare, schema_of

PLACE_VARIABLE = "MESS_STORE"
ABSENCE_S = 60.0
"""For a server that was there and is started again."""
_POLL_S = 0.5
_PASSING = ("starting up", "shutting down", "not yet accepting connections", "recovery mode", "too many clients",
            "administrator command")
_BUSY_TIMEOUT_S = 60
_CONNECT_TIMEOUT_S = 15
_READ_ONLY = "read_only"
DRIVER_EXTRA = "'mess-deploy[lab]'"
"""What installs PostgreSQL's driver; a database of another kind has a package of its own."""


def open_engine(place: Path | str | None, *, patient: bool = False) -> Engine:
    """The database at `place` (a file, a URL, None for MESS_STORE or the cache), with the newest schema.

    `patient`: a server that is not there is waited for from the first; else only once it was there.

    Raises:
        InputError: it can't be opened, is no store, or was written by a newer version of this program.
    """
    return _open(_url(place or os.environ.get(PLACE_VARIABLE) or None), patient)


def was_cut(error: SQLAlchemyError) -> bool:
    """Whether the server went away while it was spoken to."""
    return isinstance(error, DBAPIError) and error.connection_invalidated


def reading(engine: Engine) -> Connection:
    """A connection that holds no writer up."""
    return engine.connect().execution_options(**{_READ_ONLY: True})


def reason(error: Exception) -> str:
    """What the database says, in a line."""
    return str(getattr(error, "orig", None) or error).splitlines()[0][:200]


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


def _open(url: URL, patient: bool) -> Engine:
    try:
        if _is_sqlite(url):
            engine = create_engine(url, connect_args={"timeout": _BUSY_TIMEOUT_S})
            event.listen(engine, "connect", _leave_transactions_to_us)
            event.listen(engine, "begin", _begin)
        else:
            engine = create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": _CONNECT_TIMEOUT_S})
        if patient and not _is_sqlite(url):
            event.listen(engine, "do_connect", _connect_patiently)
        _bring_up_to_date(engine)
        if not patient and not _is_sqlite(url):
            event.listen(engine, "do_connect", _connect_patiently)
    except ModuleNotFoundError as error:
        raise InputError(f"the store {url} wants the Python package {error.name}: "
                         f"pip install {DRIVER_EXTRA if error.name == 'psycopg' else error.name}") from error
    except (SQLAlchemyError, NoSuchModuleError) as error:
        raise InputError(f"the store {url} can't be opened: {reason(error)}; give another one, or mend it") from error
    return engine


def _bring_up_to_date(engine: Engine) -> None:
    """Look first: only a database that has to change is locked and written."""
    with reading(engine) as connection:
        if schema_of(connection) == SCHEMA_VERSION:
            return
    with engine.begin() as connection:
        prepare(connection, str(engine.url))


def _connect_patiently(
    dialect: Dialect, entry: ConnectionPoolEntry, arguments: list[object], options: dict[str, object]
) -> DBAPIConnection:
    """A server that is not there is waited for; one that is there and refuses (a wrong password) is not."""
    deadline = time.monotonic() + ABSENCE_S
    while True:
        try:
            return dialect.connect(*arguments, **options)
        except dialect.loaded_dbapi.OperationalError as error:
            if time.monotonic() > deadline or _refuses(str(error)):
                raise
            time.sleep(_POLL_S)


def _refuses(answer: str) -> bool:
    """Whether a server answered and will not change its mind; PostgreSQL says FATAL while it starts and ends, too."""
    return "FATAL" in answer and not any(state in answer for state in _PASSING)


def _leave_transactions_to_us(connection: object, record: object) -> None:
    connection.isolation_level = None  # type: ignore[attr-defined]


def _begin(connection: Connection) -> None:
    """Who writes takes the lock at once: a transaction that first reads and then writes could not wait for it."""
    connection.exec_driver_sql("BEGIN" if connection.get_execution_options().get(_READ_ONLY) else "BEGIN IMMEDIATE")


def _is_sqlite(url: URL) -> bool:
    return url.get_backend_name() == "sqlite"
