"""`devices export`: the store's samples as CSV or Parquet, with a warning where a vendor's terms bind them."""

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli.store_place import add_store_argument

if TYPE_CHECKING:
    from device_profiler.store import StoredMeasurement

HELP = "write the samples of the store to a CSV or Parquet file"
PROVENANCES = ("measured", "imported", "emulated", "predicted")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to, in which format, and which figures."""
    parser.add_argument("file", type=Path, metavar="FILE", help="such as samples.parquet")
    parser.add_argument("--format", choices=("csv", "parquet"), help="default: by the file's ending")
    parser.add_argument("--target", action="append", default=[], metavar="NAME", help="only this target's (repeatable)")
    parser.add_argument("--provenance", action="append", default=[], choices=PROVENANCES,
                        help="only such figures (repeatable)")
    add_store_argument(parser)


def handle(arguments: argparse.Namespace) -> int:
    """Write the file; warn about terms on stderr and in the JSON."""
    from device_profiler.sample_export import export_samples, format_of
    from device_profiler.store import Store
    from device_profiler.targets import all_targets, find_target
    from device_profiler.vendor_terms import publishing_warnings
    from pipeline.cli.output import emit, warn

    wanted = format_of(arguments.file, arguments.format)
    asked = [find_target(name).name for name in arguments.target]
    seen: Counter[str] = Counter()
    with Store(arguments.store) as store:
        kept = store.find(targets=asked, provenances=arguments.provenance)
        rows = export_samples(_counted(kept, seen), arguments.file, wanted)
    warnings = publishing_warnings(target for target in all_targets() if target.name in seen)
    for warning in warnings:
        warn(warning)
    result = {"file": str(arguments.file), "rows": rows, "measurements": dict(seen), "warnings": warnings}
    emit(result, [f"{rows} samples of {seen.total()} measurements: {arguments.file}"], arguments.json)
    return 0


def _counted(kept: "Iterable[StoredMeasurement]", seen: Counter[str]) -> "Iterator[StoredMeasurement]":
    """The same measurements; `seen` gets how many there are for each target."""
    for one in kept:
        seen[one.measurement.target] += 1
        yield one
