"""Alembic's folder: what changed from each schema of the measurement store to the next."""
