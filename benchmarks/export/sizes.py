"""What sharing weights saves: the single-exit networks of a multi-exit network in one file, against a file each.

`python benchmarks/export/sizes.py [--forms executorch:fp32:.pte,...]`

Every exit of EfficientNet-Lite0 with its first head, image to labels: an app that holds them all changes its exit by
calling another entry. The stages of one cascade share next to nothing, for each computes what the stage before has not;
these networks share all of the backbone in front of an exit. Weights are random and int8 is calibrated on two images:
sizes do not depend on values. A row is written when it is measured; rows of other forms stay.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import torch

from device_profiler.files import cache_folder, write_atomic
from device_profiler.targets import Precision
from mobile_export.export_worker import export_in_worker
from mobile_export.exporters import toolchain
from mobile_export.program import Program
from pipeline.model import build_model, design_model
from pipeline.partition import Partition
from pipeline.policy_name import DEFAULT_POLICY

FORMS = ("executorch:fp32:.pte", "litert:fp32:.tflite", "executorch:int8:.pte", "litert:int8:.tflite")
"""RUNTIME:PRECISION:ENDING."""
CALIBRATING = 2
CLASSES, SIZE = 11, (224, 288)  # (height, width)


class Row(msgspec.Struct, frozen=True):
    """Bytes of one form: of the file that holds all networks, and of each network's own."""

    form: str
    together: int
    separate: tuple[int, ...]
    toolchain: dict[str, str]


class Result(msgspec.Struct, frozen=True):
    """Whose backbone, which networks (an entry each), and a row a form."""

    backbone: str
    size: tuple[int, int]
    entries: tuple[str, ...]
    rows: tuple[Row, ...]


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forms", default=",".join(FORMS))
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "sizes.json")
    arguments = parser.parse_args(words)
    torch.set_num_threads(1)
    spec = design_model(tuple(f"class{n}" for n in range(CLASSES)), SIZE)
    partition = Partition(build_model(spec), DEFAULT_POLICY)
    programs = tuple(partition.prefix(e, names[0]) for e, names in enumerate(spec.heads))
    network = Result(spec.backbone, spec.size, tuple(one.name for one in programs), ())
    for form in arguments.forms.split(","):
        result = with_row(earlier(arguments.output, network), measure(programs, form))
        write_atomic(arguments.output, msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
        print(table(result), flush=True)


def earlier(path: Path, network: Result) -> Result:
    """What is known of the same network from earlier runs."""
    if not path.is_file():
        return network
    known = msgspec.json.decode(path.read_bytes(), type=Result)
    same = msgspec.structs.replace(known, rows=()) == network
    return known if same else network


def with_row(result: Result, row: Row) -> Result:
    """The result with this row for its form, in the order of FORMS."""
    rows = [*(other for other in result.rows if other.form != row.form), row]
    rows.sort(key=lambda one: (FORMS.index(one.form) if one.form in FORMS else len(FORMS), one.form))
    return msgspec.structs.replace(result, rows=tuple(rows))


def measure(programs: Sequence[Program], form: str) -> Row:
    """All programs in one file, then each by itself."""
    runtime, name, ending = form.split(":")
    precision: Precision = msgspec.convert(name, Precision)
    folder = cache_folder("benchmarks", "sizes")

    def size(of: Sequence[Program]) -> int:
        generator = torch.Generator().manual_seed(0)
        calibration = {
            program.name: [
                ((torch.rand(program.inputs[0].shape, generator=generator) * 255).numpy(),) for _ in range(CALIBRATING)
            ]
            for program in of
        }
        artifact = export_in_worker(
            runtime, of, folder / f"sizes{ending}", precision=precision,
            calibration=calibration if precision == "int8" else None,
        )
        return artifact.size_bytes

    return Row(form, size(programs), tuple(size((program,)) for program in programs), toolchain(runtime))


def table(result: Result) -> str:
    """The rows as Markdown."""
    lines = [f"| form | {len(result.entries)} networks in one file | a file each | ratio |", "|---|---|---|---|"]
    for row in result.rows:
        each = sum(row.separate)
        lines.append(f"| {row.form} | {row.together / 1e6:.2f} MB | {each / 1e6:.2f} MB | {each / row.together:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main(sys.argv[1:])
