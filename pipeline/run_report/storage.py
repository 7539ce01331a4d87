"""report.json: written whole, read strictly."""

from pathlib import Path

import msgspec

from device_profiler.errors import InputError
from device_profiler.files import write_atomic
from pipeline.run_report.record import SCHEMA, RunReport

JSON_NAME = "report.json"
HTML_NAME = "report.html"


class _Head(msgspec.Struct):
    schema: int


def write_report(report: RunReport, destination: Path) -> None:
    """Write `report` as JSON to `destination`, atomically."""
    write_atomic(destination, msgspec.json.format(msgspec.json.encode(report), indent=1))


def read_report(path: Path) -> RunReport:
    """The report at `path`.

    Raises:
        InputError: no such file, no report of this schema, or figures that contradict each other.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"no report at {path}: a finished run has one; `python -m pipeline deploy` makes it") from None
    except OSError as error:
        raise InputError(f"can't read {path}: {error.strerror}") from error
    try:
        schema = msgspec.json.decode(content, type=_Head).schema
        if schema != SCHEMA:
            raise InputError(f"{path} has schema {schema}; this version reads schema {SCHEMA}: deploy the run again")
        return msgspec.json.decode(content, type=RunReport)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no report of a run: {error}") from error
