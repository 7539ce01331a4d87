"""Schema 3: the newest try of every job of a farm, so that a late one writes nothing."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """The table of device_profiler.claims."""
    op.create_table(
        "claims",
        sa.Column("name", sa.String(200), primary_key=True),
        sa.Column("token", sa.Integer, nullable=False),
    )
