"""Schema 1: measurements as JSON records under the question that finds them."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the first tables."""
    schema = op.create_table("store_schema", sa.Column("version", sa.Integer, primary_key=True, autoincrement=False))
    op.bulk_insert(schema, [{"version": 1}])
    op.create_table(
        "measurements",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("key", sa.String(200), nullable=False),
        sa.Column("device", sa.String(500), nullable=False),
        sa.Column("target", sa.String(100), nullable=False),
        sa.Column("protocol", sa.String(200), nullable=False),
        sa.Column("added", sa.DateTime, nullable=False, server_default=sa.func.now()),
        sa.Column("record", sa.LargeBinary, nullable=False),
    )
    op.create_index("measurements_question", "measurements", ["key", "device", "target", "protocol"])
