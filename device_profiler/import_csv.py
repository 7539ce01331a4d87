"""Samples in CSV as measurements: the table of device_profiler.sample_table, most of whose columns may be left out."""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from device_profiler.errors import InputError
from device_profiler.imported import UNKNOWN, Foreign, long_key
from device_profiler.sample_table import COLUMNS
from device_profiler.targets import Target, all_targets, find_target

REQUIRED = ("key", "entry", "target", "device", "ns")
_GROUP = ("measurement", "key", "entry", "target", "device", "soc", "os", "fingerprint", "requested_unit",
          "actual_unit", "protocol", "load_ns", "first_ns", "note")
_ONLY = {"provenance": ("measured", "imported"), "clock": ("wall",), "series": ("timed",)}
"""Columns with the values that may be imported: nothing emulated or predicted becomes a figure of a real phone."""
_UNITS = ("cpu", "gpu", "npu")


@dataclass(frozen=True)
class _Row:
    """One line of the file, its values by column (absent and empty ones left out)."""

    file: Path
    line: int
    header: tuple[str, ...]
    values: Mapping[str, str]

    def wrong(self, column: str, what: str) -> InputError:
        at = self.header.index(column) + 1 if column in self.header else len(self.header)
        return InputError(f"{self.file}, line {self.line}, column {at} ({column}): {what}")

    def count(self, column: str) -> int:
        """A number of nanoseconds."""
        text = self.values.get(column, "0")
        if not (text.isascii() and text.isdigit()):
            raise self.wrong(column, f"{text!r} is no whole number of nanoseconds")
        return int(text)


def read_csv(path: Path) -> list[Foreign]:
    """The figures of a CSV file: rows that agree in everything but `sample`, `ns` and `added` are one figure.

    Raises:
        InputError: a column is unknown or missing, or a value is wrong: file, line and column are named.
    """
    groups: dict[tuple[str, ...], list[_Row]] = {}
    for row in _rows(path):
        _check(row)
        groups.setdefault(tuple(row.values.get(name, "") for name in _GROUP), []).append(row)
    if not groups:
        raise InputError(f"{path}, line 2, column 1: no samples behind the header")
    return [_figure(rows) for rows in groups.values()]


def _rows(path: Path) -> Iterator[_Row]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream, strict=True)
            header = tuple(name.strip() for name in next(reader, ()))
            _check_header(path, header)
            for cells in reader:
                if cells:
                    yield _Row(path, reader.line_num, header, _values(path, reader.line_num, header, cells))
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no UTF-8 text (byte {error.start + 1}): save it as CSV in UTF-8") from error
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}, column 1: {error}") from error


def _check_header(path: Path, header: tuple[str, ...]) -> None:
    for at, name in enumerate(header, start=1):
        if name not in COLUMNS:
            raise InputError(f"{path}, line 1, column {at}: unknown column {name!r}; known: {', '.join(COLUMNS)}")
        if name in header[: at - 1]:
            raise InputError(f"{path}, line 1, column {at}: column {name!r} is there twice")
    if missing := [name for name in REQUIRED if name not in header]:
        raise InputError(f"{path}, line 1, column {len(header) + 1}: column {missing[0]!r} is missing; needed are "
                         f"{', '.join(REQUIRED)}")


def _values(path: Path, line: int, header: tuple[str, ...], cells: list[str]) -> dict[str, str]:
    if len(cells) != len(header):
        at = min(len(cells), len(header)) + 1
        raise InputError(f"{path}, line {line}, column {at}: {len(cells)} cells, but the header names {len(header)}")
    return {name: cell.strip() for name, cell in zip(header, cells, strict=True) if cell.strip()}


def _check(row: _Row) -> None:
    for name in REQUIRED:
        if name not in row.values:
            raise row.wrong(name, "is empty, but needed")
    for name, allowed in _ONLY.items():
        if (value := row.values.get(name, allowed[0])) not in allowed:
            raise row.wrong(name, f"{value!r} can't be imported, only {' or '.join(allowed)}: figures of real phones")
    if row.count("ns") == 0:
        raise row.wrong("ns", "0 is no latency: a sample is above 0")
    if problem := long_key(row.values["key"]):
        raise row.wrong("key", problem)
    if (unit := row.values.get("requested_unit", _UNITS[0])) not in _UNITS:
        raise row.wrong("requested_unit", f"{unit!r} is no unit; choose from {', '.join(_UNITS)}")
    _target(row)


def _target(row: _Row) -> Target:
    name = row.values["target"]
    if name not in {target.name for target in all_targets()}:
        try:
            find_target(name)
        except InputError as error:
            raise row.wrong("target", str(error)) from error
    return find_target(name)


def _figure(rows: list[_Row]) -> Foreign:
    first, target = rows[0], _target(rows[0])
    values = first.values
    return Foreign(
        key=values["key"],
        entry=values["entry"],
        target=target.name,
        requested_unit=values.get("requested_unit", target.unit),
        actual_unit=values.get("actual_unit", UNKNOWN),
        samples_ns=tuple(row.count("ns") for row in rows),
        device=values["device"],
        soc=values.get("soc", target.soc),
        os=values.get("os", UNKNOWN),
        fingerprint=values.get("fingerprint", f"imported {values['device']} {values.get('os', UNKNOWN)}"),
        tool=values.get("protocol", "CSV"),
        note=values.get("note", ""),
        load_ns=first.count("load_ns"),
        first_ns=first.count("first_ns"),
    )
