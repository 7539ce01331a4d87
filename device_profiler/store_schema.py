"""Tables of the measurement store, and how a database gets to the newest schema (Alembic; device_profiler/migrations).

Schema numbers are Alembic's revisions: "0001", "0002", ... Stores that were written before Alembic came say their
number in the table store_schema; from schema 2 on that table only keeps those old programs away.
"""

from sqlalchemy import (
    Column,
    DateTime,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    func,
    inspect,
    text,
)
from sqlalchemy.engine import Connection

from device_profiler.errors import InputError

SCHEMA_VERSION = 3
KEY_LENGTH, NAME_LENGTH, DEVICE_LENGTH = 200, 100, 500
_POSTGRESQL_LOCK = 0x6D657373  # any number that all programs of this project agree on

metadata = MetaData()
measurements = Table(
    "measurements",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("key", String(KEY_LENGTH), nullable=False),
    Column("device", String(DEVICE_LENGTH), nullable=False),
    Column("target", String(NAME_LENGTH), nullable=False),
    Column("protocol", String(KEY_LENGTH), nullable=False),
    Column("added", DateTime, nullable=False, server_default=func.now()),
    Column("record", LargeBinary, nullable=False),
    Column("entry", String(KEY_LENGTH), nullable=True),
    Column("provenance", String(NAME_LENGTH), nullable=True),
    Column("requested_unit", String(NAME_LENGTH), nullable=True),
    Column("actual_unit", String(NAME_LENGTH), nullable=True),
    Column("median_ns", Float(53), nullable=True),
    Index("measurements_question", "key", "device", "target", "protocol"),
)
"""`record` is the whole measurement as JSON; the columns beside it are copies for questions in SQL. `added` is UTC."""

workloads = Table(
    "workloads",
    metadata,
    Column("key", String(KEY_LENGTH), primary_key=True),
    Column("operators", LargeBinary, nullable=False),
)
"""The operators behind a key as JSON (device_profiler.workload), in order: what device models are fitted to."""

claims = Table(
    "claims",
    metadata,
    Column("name", String(KEY_LENGTH), primary_key=True),
    Column("token", Integer, nullable=False),
)
"""The newest try of every job of a farm: see device_profiler.claims."""


def lock_writers(connection: Connection) -> None:
    """One transaction at a time from here on; an SQLite transaction that writes has its lock already."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _POSTGRESQL_LOCK})


def prepare(connection: Connection, place: str) -> None:
    """Bring the database to SCHEMA_VERSION inside the caller's transaction: all of it, or nothing.

    Raises:
        InputError: a newer version of this program wrote it.
    """
    lock_writers(connection)
    found = schema_of(connection)
    if found > SCHEMA_VERSION:
        raise InputError(
            f"the store {place} has schema {found}, this program knows {SCHEMA_VERSION}: it was written by a newer "
            "version; update this program or give another store"
        )
    if found < SCHEMA_VERSION:
        _upgrade(connection, found)


def schema_of(connection: Connection) -> int:
    """The database's schema; 0 where there is none yet."""
    tables = inspect(connection).get_table_names()
    if "alembic_version" in tables:
        return int(connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none() or 0)
    if "store_schema" in tables:
        return int(connection.execute(text("SELECT max(version) FROM store_schema")).scalar_one() or 0)
    return 0


def _upgrade(connection: Connection, found: int) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "device_profiler:migrations")
    config.attributes["connection"] = connection
    if found == 1:
        command.stamp(config, "0001")
    command.upgrade(config, f"{SCHEMA_VERSION:04}")
