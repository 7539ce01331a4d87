"""Written once, however often a job is tried: tries of a job are numbered, and only the newest one may write.

A host that was cut off and comes back late holds an older number (a fencing token): the store takes nothing from it.
What another job measured meanwhile, in answer to the same question, is not written a second time either.
"""

from collections.abc import Mapping, Sequence

import msgspec
from sqlalchemy import Row, func, select, text, tuple_
from sqlalchemy.engine import Connection

from device_profiler.errors import UnavailableError
from device_profiler.store_schema import claims, lock_writers, measurements

_NEXT = text(
    "INSERT INTO claims (name, token) VALUES (:name, 1) "
    "ON CONFLICT (name) DO UPDATE SET token = claims.token + 1 RETURNING token"
)
_QUESTION = (measurements.c.key, measurements.c.device, measurements.c.target, measurements.c.protocol)


class Claim(msgspec.Struct, frozen=True):
    """A try of the job `name`. `token` grows from try to try; `since`: the newest row of the store when it began."""

    name: str
    token: int
    since: int


class ClaimLostError(UnavailableError):
    """The job was given to somebody else meanwhile: what this try measured is not kept."""


def take_claim(connection: Connection, name: str) -> Claim:
    """The next try of the job `name`: from now on no earlier one writes."""
    lock_writers(connection)
    token = connection.execute(_NEXT, {"name": name}).scalar_one()
    since = connection.execute(select(func.coalesce(func.max(measurements.c.id), 0))).scalar_one()
    return Claim(name, int(token), int(since))


def rows_to_write(
    connection: Connection, claim: Claim, rows: Sequence[Mapping[str, object]]
) -> list[Mapping[str, object]]:
    """Those of `rows` whose question nobody answered since the try began.

    Raises:
        ClaimLostError: a later try has begun.
    """
    lock_writers(connection)
    newest = connection.execute(select(claims.c.token).where(claims.c.name == claim.name)).scalar_one_or_none()
    if newest != claim.token:
        raise ClaimLostError(f"try {claim.token} of job {claim.name} came back too late: try {newest} has begun "
                             "elsewhere, and what this one measured is not kept")
    answered = {tuple(row) for row in _answered(connection, claim, rows)}
    return [row for row in rows if tuple(row[column.name] for column in _QUESTION) not in answered]


def _answered(
    connection: Connection, claim: Claim, rows: Sequence[Mapping[str, object]]
) -> Sequence[Row[str, str, str, str]]:
    asked = [tuple(row[column.name] for column in _QUESTION) for row in rows]
    return connection.execute(
        select(*_QUESTION).where(measurements.c.id > claim.since, tuple_(*_QUESTION).in_(asked))
    ).all()
