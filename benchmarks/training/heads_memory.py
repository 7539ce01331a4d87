"""What groups of heads save: peak memory of a step of stage 2, by how many heads a group has at most.

Run: python benchmarks/training/heads_memory.py [--groups 0,96,48,16] [--heads mobile] [--size 192x256]. Every group
size takes a process of its own; 0 is one group of all. Writes results/heads_memory.json.
"""

import argparse
import resource
import subprocess
import sys
from pathlib import Path

import msgspec
import torch
from heads_together import CLASSES, SCHEDULE, batch_of, one_step, schedule_of, source_of

from device_profiler.files import write_atomic
from pipeline.model import build_model, design_model
from pipeline.training import TrainingMethod
from pipeline.training.stages import HeadStage, groups_of, student_places

RESULTS = Path(__file__).parent / "results" / "heads_memory.json"


class Row(msgspec.Struct, frozen=True):
    """Peak resident memory of a process that takes a step with the first group; `heads`: in that group."""

    at_most: int
    heads: int
    groups: int
    peak_mb: float
    before_mb: float


class Figures(msgspec.Struct, frozen=True):
    """`before_mb` of a row: with the network and the data, before the step."""

    heads: str
    exits: int
    size: tuple[int, int]
    batch: int
    rows: tuple[Row, ...]


def main() -> None:
    """Measure and write; with `--child`, be one of the processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", default="0,96,48,16")
    parser.add_argument("--heads", default="mobile")
    parser.add_argument("--exits", type=int, default=6)
    parser.add_argument("--size", default="192x256", help="HEIGHTxWIDTH")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    height, width = (int(side) for side in arguments.size.split("x"))
    if arguments.child is not None:
        row = measure((height, width), arguments.heads.split(","), arguments.exits, arguments.child)
        print(msgspec.json.encode(row).decode())
        return
    rows = []
    for at_most in arguments.groups.split(","):
        words = [sys.executable, *sys.argv, "--child", at_most]
        ended = subprocess.run(words, check=True, capture_output=True, text=True)
        rows.append(msgspec.json.decode(ended.stdout.splitlines()[-1], type=Row))
        print(rows[-1], flush=True)
    figures = Figures(arguments.heads, arguments.exits, (height, width), SCHEDULE.batch, tuple(rows))
    write_atomic(RESULTS, msgspec.json.format(msgspec.json.encode(figures)))


def measure(size: tuple[int, int], heads: list[str], exits: int, at_most: int) -> Row:
    """One step with the first group, in this process."""
    torch.set_num_threads(1)
    spec = design_model(CLASSES, size, exits=exits, heads=heads)
    model = build_model(spec).to(memory_format=torch.channels_last)
    groups = groups_of(student_places(spec, TrainingMethod()), at_most)
    stage = HeadStage(model, source_of(size), schedule_of(), groups[0])
    step = one_step(stage, batch_of(size))
    before = _peak_mb()
    step()
    return Row(at_most, len(groups[0]), len(groups), _peak_mb(), before)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
