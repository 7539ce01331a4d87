"""`devices import`: figures that another tool took on a real phone, into the store."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from device_profiler.errors import InputError
from pipeline.cli.store_place import add_store_argument

if TYPE_CHECKING:
    from device_profiler.imported import Foreign

HELP = "take over figures from Xcode's Core ML performance report or a CSV file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The file; for a report of Xcode also what it is a report of."""
    parser.add_argument("file", type=Path, metavar="FILE", help="NAME.mlperf (or its report.json), or NAME.csv")
    parser.add_argument("--target", metavar="NAME", help="for a report: whose figure it is; see `targets`")
    parser.add_argument("--artifact", type=Path, metavar="PATH", help="for a report: the model that was timed")
    parser.add_argument("--entry", default="main", metavar="NAME", help="for a report: its function (default: main)")
    add_store_argument(parser)


def handle(arguments: argparse.Namespace) -> int:
    """Read the whole file, then keep all of its figures."""
    path: Path = arguments.file
    if not path.exists():
        raise InputError(f"{path} does not exist; give Xcode's .mlperf, its report.json, or a .csv")
    is_csv = path.suffix.lower() == ".csv"
    _check_options(arguments, is_csv)
    from device_profiler.files import sha256_path
    from device_profiler.imported import keep_imported, measurement_of
    from device_profiler.store import Store
    from pipeline.cli.output import emit
    from pipeline.durations import format_duration

    source = sha256_path(path)
    taken = [measurement_of(foreign, source) for foreign in (_table(path) if is_csv else _report(arguments))]
    with Store(arguments.store) as store:
        keep_imported(store, taken, source)
        place = store.place
    lines = [f"{one.entry:<22} {format_duration(one.median_ns):>10}  {one.provenance}, {len(one.samples_ns)} samples "
             f"on {one.identity.model} for {one.target}" for one in taken]
    emit({"imported": taken, "store": place}, [*lines, f"kept in {place}"], arguments.json)
    return 0


def _check_options(arguments: argparse.Namespace, is_csv: bool) -> None:
    given = [name for name in ("target", "artifact") if getattr(arguments, name) is not None]
    if is_csv and given:
        raise InputError(f"--{given[0]} belongs to a report of Xcode; a CSV file names targets and keys in its columns")
    if not is_csv and len(given) < 2:
        raise InputError("a report of Xcode does not say what it is a report of: give --target NAME and --artifact "
                         "PATH, the model that was timed")


def _table(path: Path) -> "list[Foreign]":
    from device_profiler.import_csv import read_csv

    return read_csv(path)


def _report(arguments: argparse.Namespace) -> "list[Foreign]":
    from device_profiler.files import sha256_path
    from device_profiler.import_xcode import read_report
    from device_profiler.targets import find_target

    target = find_target(arguments.target)
    if not arguments.artifact.exists():
        raise InputError(f"--artifact {arguments.artifact} does not exist; name the model that was timed")
    return [read_report(arguments.file, target, sha256_path(arguments.artifact), arguments.entry)]
