"""Latency of every backbone prefix of several networks on the emulated phone's CPU: data for few_shot.py, fitting.py.

Writes results/prefixes.json after every network, and goes on from there.
Run: python benchmarks/profiler/measure_prefixes.py
"""

import tempfile
from pathlib import Path

import msgspec
import numpy as np
from networks import BACKBONES, prefixes

from device_profiler.device import Device, open_device
from device_profiler.errors import VerificationError
from device_profiler.files import write_atomic
from device_profiler.protocol import measure_calls, protocol_version
from device_profiler.targets import Target, find_target
from device_profiler.workload import Call, Operator, Workload
from mobile_export.export_worker import export_in_worker

RESULTS = Path(__file__).parent / "results" / "prefixes.json"
SIZES = (64, 96)


class MeasuredPrefix(msgspec.Struct, frozen=True):
    """One prefix: the operators that it has and the one before has not, and its latency."""

    further_operators: tuple[Operator, ...]
    ns: float


class MeasuredNetwork(msgspec.Struct, frozen=True):
    """One network at one input size, its prefixes from the shortest."""

    name: str
    size: int
    prefixes: tuple[MeasuredPrefix, ...]


class PrefixFile(msgspec.Struct, frozen=True):
    """results/prefixes.json: where and how the figures were taken, and the networks that could not be exported."""

    device: str
    provenance: str
    protocol: str
    networks: tuple[MeasuredNetwork, ...] = ()
    left_out: dict[str, str] = {}


def main() -> None:
    """Measure what the file lacks."""
    target = find_target("pixel7-cpu")
    with open_device("emulated", target) as device:
        fresh = PrefixFile(device.identity.fingerprint, device.provenance, protocol_version(target))
        found = msgspec.json.decode(RESULTS.read_bytes(), type=PrefixFile) if RESULTS.exists() else fresh
        done = {(one.name, one.size) for one in found.networks}
        for size in SIZES:
            for name in BACKBONES:
                if (name, size) in done or name in found.left_out:
                    continue
                try:
                    one = measure(name, size, device, target)
                    found = msgspec.structs.replace(found, networks=(*found.networks, one))
                except VerificationError as error:
                    found = msgspec.structs.replace(found, left_out={**found.left_out, name: str(error)[:200]})
                write_atomic(RESULTS, msgspec.json.format(msgspec.json.encode(found), indent=0))
                print(f"{name} {size}", flush=True)


def measure(name: str, size: int, device: Device, target: Target) -> MeasuredNetwork:
    """Export all prefixes of one network into one file and time each."""
    programs = list(prefixes(name, size))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "prefixes.pte"
        artifact = export_in_worker(target.runtime, programs, file, precision="fp32")
        image = np.random.default_rng(0).random((1, 3, size, size), np.float32)
        works = [Workload(f"{name} {size} {p.name}", Call(p.name, (image,)), artifact.entry(p.name).operators)
                 for p in programs]
        measured = [taken.measurement.median_ns for taken in measure_calls(device, target, file, works)]
    taken: list[MeasuredPrefix] = []
    before: tuple[Operator, ...] = ()
    for work, ns in zip(works, measured, strict=True):
        if work.operators[: len(before)] != before:
            raise VerificationError(f"{work.key} does not begin with the operators of the prefix before it")
        taken.append(MeasuredPrefix(work.operators[len(before) :], ns))
        before = work.operators
    return MeasuredNetwork(name, size, tuple(taken))


if __name__ == "__main__":
    main()
