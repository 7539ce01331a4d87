"""How long exporting takes: parts of a network by this project, against lowering them naively one by one.

`python benchmarks/export/speed.py [--backbone deeplabv3_mobilenet_v3_large] [--size 512x512] [--exits 6]`

Random weights: lowering does not depend on them. Three ways to one .pte file a part or one for all, XNNPACK fp32:
naive     one process; `torch.export`, `to_edge_transform_and_lower`, a file, part after part, graphs as they are
together  what `profile` and `deploy` do: canonical graphs, equal parts once, one file, in a process of its own
parallel  the same parts in two files, two processes at once
and `again`: the same command once more, which finds every part by its structure's hash. Wall time and CPU time of this
process and its children; the ways run one after the other, in the order given, `--rounds` times.
"""

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import torch

from device_profiler.files import write_atomic
from device_profiler.targets import find_target
from mobile_export.export_worker import ExportJob, export_in_parallel, export_in_worker
from mobile_export.program import Program
from mobile_export.structure import structure_hash
from pipeline.cli.network import parse_size
from pipeline.model import build_model, design_model
from pipeline.partition import Partition
from pipeline.policy_name import DEFAULT_POLICY
from pipeline.profiling import ProfileRequest, plan_parts

AT_ONCE = 2


class Took(msgspec.Struct, frozen=True):
    """One way: wall and CPU seconds by round, bytes of what it wrote."""

    way: str
    wall_s: tuple[float, ...]
    cpu_s: tuple[float, ...]
    size: int


class Result(msgspec.Struct, frozen=True):
    """What was exported, where; `load`: the machine's load average before and after, of `cores` cores."""

    backbone: str
    size: tuple[int, int]
    exits: int
    parts: int
    distinct: int
    weights: str
    machine: str
    cores: int
    load: tuple[float, float]
    ways: tuple[Took, ...]


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="deeplabv3_mobilenet_v3_large")
    parser.add_argument("--size", default="512x512")
    parser.add_argument("--exits", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "speed.json")
    arguments = parser.parse_args(words)
    torch.set_num_threads(1)
    size = parse_size(arguments.size)
    assert size is not None
    spec = design_model(
        tuple(f"class {n}" for n in range(21)), size, backbone=arguments.backbone, exits=arguments.exits,
        heads=("fcn-r1",),
    )
    programs = Partition(build_model(spec, seed=0), DEFAULT_POLICY).parts()
    distinct = tuple({structure_hash(one, "executorch", "fp32"): one for one in programs}.values())
    request = ProfileRequest(spec, DEFAULT_POLICY, find_target("pixel7-cpu"), "")
    load = os.getloadavg()[0]
    naive(programs[-1:])  # imports
    ways: dict[str, Callable[[], int]] = {
        "naive": lambda: naive(programs),
        "together": lambda: together(distinct),
        "parallel": lambda: parallel(distinct),
        "again": lambda: again(request),
    }
    ways["again"]()  # the first run writes the hashes
    took = tuple(timed(way, ways, arguments.rounds) for way in ways)
    result = Result(
        arguments.backbone, size, arguments.exits, len(programs), len(distinct), "random", platform.platform(),
        os.cpu_count() or 1, (load, os.getloadavg()[0]), took,
    )
    write_atomic(arguments.output, msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
    print(table(result))


def timed(way: str, ways: dict[str, Callable[[], int]], rounds: int) -> Took:
    """Run one way `rounds` times."""
    wall, cpu, size = [], [], 0
    for _ in range(rounds):
        begun, spent = time.monotonic(), sum(os.times()[:4])
        size = ways[way]()
        wall.append(time.monotonic() - begun)
        cpu.append(sum(os.times()[:4]) - spent)
        print(f"{way}: {wall[-1]:.1f} s, CPU {cpu[-1]:.1f} s", file=sys.stderr, flush=True)
    return Took(way, tuple(wall), tuple(cpu), size)


def naive(programs: Sequence[Program]) -> int:
    """Bytes of all files."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    written = 0
    for program in programs:
        exported = torch.export.export(program.module.eval(), program.example_inputs(), strict=False)
        lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()]).to_executorch()
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "part.pte")
            file.write_bytes(lowered.buffer)
            written += file.stat().st_size
    return written


def together(programs: Sequence[Program]) -> int:
    """Bytes of the one file."""
    with tempfile.TemporaryDirectory() as folder:
        return export_in_worker("executorch", programs, Path(folder, "parts.pte"), precision="fp32").size_bytes


def parallel(programs: Sequence[Program]) -> int:
    """Bytes of two files: every other part in each."""
    with tempfile.TemporaryDirectory() as folder:
        jobs = [
            ExportJob("executorch", tuple(programs[n::AT_ONCE]), Path(folder, f"{n}.pte"), "fp32")
            for n in range(AT_ONCE)
        ]
        return sum(artifact.size_bytes for artifact in export_in_parallel(jobs, AT_ONCE))


def again(request: ProfileRequest) -> int:
    """Every part by its structure's hash; nothing is written."""
    plan_parts(request)
    return 0


def table(result: Result) -> str:
    """The ways as Markdown, with their ratios to the naive one."""
    naive_wall, naive_cpu = min(result.ways[0].wall_s), min(result.ways[0].cpu_s)
    lines = ["| way | wall | CPU | naive is so many times slower: wall, CPU | MB |", "|---|---|---|---|---|"]
    for one in result.ways:
        wall, cpu = min(one.wall_s), min(one.cpu_s)
        lines.append(
            f"| {one.way} | {wall:.1f} s | {cpu:.1f} s | {naive_wall / wall:.2f}, {naive_cpu / max(cpu, 0.01):.2f} | "
            f"{one.size / 1e6:.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main(sys.argv[1:])
