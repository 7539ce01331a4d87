"""What this host thinks of a phone: its faults in a row, and whether it is set aside until it passes a self-test."""

import datetime
import fcntl
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from device_profiler.errors import GoldenDriftError, InputError, PipelineError, UnavailableError
from device_profiler.files import cache_folder, write_atomic
from device_profiler.measurement import DeviceIdentity
from device_profiler.outcomes import outcome_of

MOST_FAULTS = 3
_SERIAL = "ro.serialno"


class Standing(msgspec.Struct, frozen=True):
    """`faults`: infrastructure faults since the phone last did what it was asked to, oldest first.

    `quarantined`: why the phone is set aside, or None. `since`: when (UTC, ISO 8601).
    """

    faults: tuple[str, ...] = ()
    quarantined: str | None = None
    since: str | None = None


def phone_key(identity: DeviceIdentity) -> str:
    """The phone's name on this host, however it is reached: its serial number, else its address."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", identity.properties.get(_SERIAL) or identity.address)


def standing_of(key: str) -> Standing:
    """What is known of the phone."""
    try:
        return msgspec.json.decode(_file(key).read_bytes(), type=Standing)
    except FileNotFoundError:
        return Standing()
    except msgspec.DecodeError as error:
        raise InputError(f"{_file(key)} can't be read ({error}); remove it") from error


def note_good(key: str) -> None:
    """The phone did what it was asked to: earlier faults no longer count. A phone that is set aside stays so."""
    with _held(key):
        known = standing_of(key)
        if known.faults:
            _write(key, msgspec.structs.replace(known, faults=()))


def note_fault(key: str, why: str) -> Standing:
    """An infrastructure fault: the third in a row sets the phone aside."""
    with _held(key):
        known = standing_of(key)
        faults = (*known.faults, why)[-MOST_FAULTS:]
        if len(faults) < MOST_FAULTS or known.quarantined:
            return _write(key, msgspec.structs.replace(known, faults=faults))
        return _write(key, Standing(faults, f"{MOST_FAULTS} infrastructure faults in a row, the last: {why}", _now()))


def note_end(key: str, error: BaseException | None) -> Standing:
    """What the end of a job says of the phone that it ran on: None is good; bad input and a model's fault say nothing.

    Infrastructure faults count; a golden model that drifts sets the phone aside at once.
    """
    if error is None:
        note_good(key)
    elif isinstance(error, GoldenDriftError):
        return quarantine(key, f"its golden model drifted: {error}")
    elif isinstance(error, PipelineError) and outcome_of(error) == "infrastructure fault":
        return note_fault(key, str(error))
    return standing_of(key)


def quarantine(key: str, why: str) -> Standing:
    """Set the phone aside: nothing is measured on it until it passes a self-test. The first reason stays."""
    with _held(key):
        known = standing_of(key)
        if known.quarantined:
            return known
        return _write(key, msgspec.structs.replace(known, quarantined=why, since=_now()))


def release(key: str) -> None:
    """Take the phone back with a clean record: for a self-test that it passed."""
    with _held(key):
        _file(key).unlink(missing_ok=True)


def check_standing(key: str, address: str) -> None:
    """Refuse a phone that is set aside.

    Raises:
        UnavailableError: it is; says why, and what brings it back.
    """
    known = standing_of(key)
    if known.quarantined:
        raise UnavailableError(f"{address} is set aside since {known.since}: {known.quarantined}; mend it, then "
                               f"`python -m pipeline devices self-test {address}` brings it back")


def _file(key: str) -> Path:
    return cache_folder("standing") / f"{key}.json"


def _write(key: str, standing: Standing) -> Standing:
    write_atomic(_file(key), msgspec.json.encode(standing))
    return standing


@contextmanager
def _held(key: str) -> Iterator[None]:
    """One writer at a time."""
    with (cache_folder("standing") / f"{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
