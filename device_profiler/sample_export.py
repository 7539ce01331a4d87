"""Samples of the store as a CSV or Parquet file: whole or absent, one row a sample, written as they are read."""

import csv
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Literal, get_args

import msgspec

from device_profiler.errors import InputError
from device_profiler.files import atomic_path
from device_profiler.sample_table import COLUMNS, SCHEMA, SampleRow, rows_of
from device_profiler.store import StoredMeasurement

Format = Literal["csv", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)
_ROWS_A_GROUP = 65_536


def format_of(path: Path, asked: str | None) -> Format:
    """The format that was asked for, else the one of the file's ending.

    Raises:
        InputError: neither says one that is known.
    """
    wanted = asked or path.suffix.removeprefix(".").lower()
    for known in FORMATS:
        if wanted == known:
            return known
    raise InputError(f"{path.name} does not say in which format to export: end it in .csv or .parquet, or give "
                     f"--format {' or '.join(FORMATS)}")


def export_samples(kept: Iterable[StoredMeasurement], path: Path, wanted: Format) -> int:
    """Write every sample of `kept` to `path`; the number of rows.

    Raises:
        InputError: the file can't be written, or Parquet is asked for and pyarrow is not installed.
    """
    rows = chain.from_iterable(rows_of(one) for one in kept)
    try:
        with atomic_path(path) as partial:
            return _write_csv(rows, partial) if wanted == "csv" else _write_parquet(rows, partial)
    except OSError as error:
        raise InputError(f"can't write {path}: {error.strerror or error}") from error


def _write_csv(rows: Iterator[SampleRow], path: Path) -> int:
    count = 0
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in rows:
            writer.writerow(msgspec.structs.astuple(row))
            count += 1
    return count


def _write_parquet(rows: Iterator[SampleRow], path: Path) -> int:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ModuleNotFoundError as error:
        raise InputError("Parquet is written by the package pyarrow, which is not installed: "
                         "pip install 'mess-deploy[lab]', or export CSV") from error
    types = {int: pyarrow.int64()}
    fields = [pyarrow.field(field.name, types.get(field.type, pyarrow.string()), nullable=False)
              for field in msgspec.structs.fields(SampleRow)]
    schema = pyarrow.schema(fields, metadata={"mess-deploy.samples.schema": str(SCHEMA)})
    count = 0
    with parquet.ParquetWriter(path, schema) as writer:
        while group := tuple(islice(rows, _ROWS_A_GROUP)):  # Python 3.11 has no itertools.batched
            writer.write_batch(pyarrow.RecordBatch.from_pylist([msgspec.structs.asdict(row) for row in group], schema))
            count += len(group)
    return count
