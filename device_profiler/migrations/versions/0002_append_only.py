"""Schema 2: the database refuses to change or remove a measurement; columns for SQL; operators beside figures."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_COPIES = ("entry", "provenance", "requested_unit", "actual_unit", "median_ns")
_SQLITE = (
    "CREATE TRIGGER measurements_keep_rows BEFORE DELETE ON measurements "
    "BEGIN SELECT RAISE(ABORT, 'measurements are only ever added'); END",
    "CREATE TRIGGER measurements_keep_values BEFORE UPDATE ON measurements "
    "BEGIN SELECT RAISE(ABORT, 'measurements are only ever added'); END",
    # INSERT OR REPLACE removes the old row without asking the trigger above.
    "CREATE TRIGGER measurements_keep_ids BEFORE INSERT ON measurements "
    "WHEN EXISTS (SELECT 1 FROM measurements WHERE id = NEW.id) "
    "BEGIN SELECT RAISE(ABORT, 'measurements are only ever added'); END",
)
_POSTGRESQL = (
    "CREATE FUNCTION measurements_refuse() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN RAISE EXCEPTION 'measurements are only ever added'; END $$",
    "CREATE TRIGGER measurements_keep_rows BEFORE UPDATE OR DELETE ON measurements "
    "FOR EACH ROW EXECUTE FUNCTION measurements_refuse()",
    "CREATE TRIGGER measurements_keep_all BEFORE TRUNCATE ON measurements "
    "FOR EACH STATEMENT EXECUTE FUNCTION measurements_refuse()",
)


def upgrade() -> None:
    """Columns, their values out of the records, the operators' table, then the triggers."""
    for name in _COPIES[:-1]:
        op.add_column("measurements", sa.Column(name, sa.String(200 if name == "entry" else 100)))
    op.add_column("measurements", sa.Column("median_ns", sa.Float(53)))
    _fill()
    op.create_table(
        "workloads",
        sa.Column("key", sa.String(200), primary_key=True),
        sa.Column("operators", sa.LargeBinary, nullable=False),
    )
    for statement in _POSTGRESQL if op.get_bind().dialect.name == "postgresql" else _SQLITE:
        op.execute(statement)
    op.execute("UPDATE store_schema SET version = 2")


def _fill() -> None:
    names = ("id", "record", *_COPIES)
    table = sa.table("measurements", *(sa.column(name) for name in names))
    connection = op.get_bind()
    for number, record in connection.execute(sa.select(table.c.id, table.c.record)).fetchall():
        kept = json.loads(bytes(record))
        values = {name: kept[name] for name in _COPIES}
        connection.execute(sa.update(table).where(table.c.id == number).values(values))
