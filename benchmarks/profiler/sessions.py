"""On the emulated phone: the sum of a cascade's parts against the cascade timed whole, and what a session costs.

Overhead: wall time of a session (check, push, launches, results) over that of the runs in it alone, which is taken
from two launches that differ in their number of runs only; a session's fixed cost weighs less where its models are
larger, so two sizes are told. Run: python benchmarks/profiler/sessions.py [--noisy]
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import torch

from device_profiler.device import Device, identify
from device_profiler.emulator.phone import start_phone, stop_phone
from device_profiler.emulator.phone_profile import load_profile
from device_profiler.emulator.weather import make_weather
from device_profiler.files import write_atomic
from device_profiler.protocol import measure_calls, measure_cascade
from device_profiler.runner.client import install
from device_profiler.sampling import VIRTUAL, BlockEffort
from device_profiler.targets import find_target
from device_profiler.transport import connect
from device_profiler.workload import Call, Workload
from mobile_export.artifact import Artifact
from mobile_export.export_worker import export_in_worker
from mobile_export.program import Program
from pipeline.model import build_model, design_model
from pipeline.partition import Partition, block_entry, deployment_programs, finish_entry, head_entry
from pipeline.quantized import parts_calibration

RESULTS = Path(__file__).parent / "results"
TARGET = find_target("pixel7-cpu")
SIDES, EXITS, HEAD = (32, 192), 2, "fcn-r4"
SEED = 11
_MORE_RUNS = 6
_NOISY = BlockEffort(launches=3, most_launches=8, iterations=4)


class CascadePath(msgspec.Struct, frozen=True):
    """One path at `side` x `side`: the sum of its parts timed one by one, and the path timed whole [ns].

    `difference`: relative.
    """

    side: int
    path: str
    clock: str
    parts_ns: float
    whole_ns: float
    difference: float


class Session(msgspec.Struct, frozen=True):
    """One profiling session at `side` x `side`: `programs`, `runs` of all of them together, seconds of the session and
    of its runs."""

    side: int
    programs: int
    runs: int
    session_s: float
    runs_s: float
    ratio: float


class Results(msgspec.Struct, frozen=True):
    """What the benchmark found."""

    network: str
    paths: tuple[CascadePath, ...]
    sessions: tuple[Session, ...]


def main() -> None:
    """Run, print, write results/sessions.json, or results/noisy_paths.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--noisy", action="store_true", help="the larger paths, on a phone with noise and drift")
    noisy = parser.parse_args().noisy
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        networks = [_Network(Path(temporary, str(side)), side) for side in (SIDES[-1:] if noisy else SIDES)]
        found = [_on_phone(network, SEED if noisy else None) for network in networks]
    paths = tuple(path for of_network, _ in found for path in of_network)
    for path in paths:
        print(f"{path.side:>4} {path.clock:<9} {path.path}: parts {path.parts_ns / 1e6:.3f} ms, "
              f"whole {path.whole_ns / 1e6:.3f} ms, {path.difference:+.2%}")
    sessions = () if noisy else tuple(session for _, session in found)
    for session in sessions:
        print(f"{session.side:>4} session: {session.session_s:.1f} s for {session.runs} runs of {session.programs} "
              f"programs, which alone take {session.runs_s:.1f} s: {session.ratio:.2f} times")
    results = Results(f"efficientnet_lite0, {EXITS} exits, {HEAD}", paths, sessions)
    file = RESULTS / ("noisy_paths.json" if noisy else "sessions.json")
    write_atomic(file, msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")


class _Network:
    """One network exported twice: in parts, and as a cascade."""

    def __init__(self, folder: Path, side: int) -> None:
        folder.mkdir()
        self.side = side
        spec = design_model(("a", "b", "c", "d"), (side, side), exits=EXITS, heads=(HEAD,))
        model = build_model(spec, seed=0)
        partition = Partition(model, "mean")
        self.image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(7)).numpy() * np.float32(255)
        inputs = parts_calibration(model, partition.policy, self.image)
        heads = [names[0] for names in spec.heads]
        self.sums = [
            [*(block_entry(n) for n in range(e + 1)), *(head_entry(n, heads[n]) for n in range(e + 1)), finish_entry(e)]
            for e in range(EXITS)
        ]
        parts = partition.parts()
        self.parts_file, self.parts = _export(parts, folder / "parts.pte")
        self.calls = [Call(program.name, inputs[program.name][0]) for program in parts]
        limits = (0.5,) * (EXITS - 1)
        programs, self.plan = deployment_programs(partition, tuple(range(EXITS)), tuple(heads), limits)
        self.cascade_file, self.cascade = _export(programs, folder / "cascade.pte")

    @property
    def workloads(self) -> list[Workload]:
        """Every part."""
        return [Workload(call.entry, call, self.parts.entry(call.entry).operators) for call in self.calls]


def _export(programs: Sequence[Program], file: Path) -> tuple[Path, Artifact]:
    return file, export_in_worker(TARGET.runtime, programs, file, precision=TARGET.precision)


def _on_phone(network: _Network, seed: int | None) -> tuple[list[CascadePath], Session]:
    phone = start_phone("pixel7", keep=False, weather=make_weather(load_profile("pixel7"), seed=seed))
    try:
        with connect(phone.address) as transport:
            device = Device(transport, identify(transport))
            install(transport, TARGET.runtime)
            began = time.monotonic()
            taken = measure_calls(device, TARGET, network.parts_file, network.workloads, effort=_NOISY)
            session_s = time.monotonic() - began
            clock = device.identity.clock
            times = {one.measurement.entry: one.measurement.median_ns for one in taken}
            wholes = measure_cascade(
                device, TARGET, network.cascade_file, network.plan, network.image, key="whole", effort=_NOISY,
                operators={entry.name: entry.operators for entry in network.cascade.entries},
            )
            paths = [
                _path(network.side, whole.entry, clock, sum(times[entry] for entry in entries), whole.median_ns)
                for whole, entries in zip(wholes, network.sums, strict=True)
            ]
            return paths, _session(device, network, session_s)
    finally:
        stop_phone(phone.address)


def _path(side: int, name: str, clock: str, parts_ns: float, whole_ns: float) -> CascadePath:
    return CascadePath(side, name, clock, parts_ns, whole_ns, round(parts_ns / whole_ns - 1, 5))


def _session(device: Device, network: _Network, session_s: float) -> Session:
    runner = install(device.transport, TARGET.runtime)
    seconds = []
    for iterations in (VIRTUAL.iterations, VIRTUAL.iterations + _MORE_RUNS):
        began = time.monotonic()
        runner.run(network.parts_file, network.calls, warmup=0, iterations=iterations)
        seconds.append(time.monotonic() - began)
    runs_s = (seconds[1] - seconds[0]) / _MORE_RUNS * VIRTUAL.runs
    count = len(network.calls)
    ratio = round(session_s / runs_s, 3)
    return Session(network.side, count, count * VIRTUAL.runs, round(session_s, 2), round(runs_s, 2), ratio)


if __name__ == "__main__":
    main()
