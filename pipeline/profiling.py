"""From the structure of a network to latencies of its parts: what the store lacks is exported and run on the phone.

No trained weights are needed, so it runs in a process of its own while training does.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec
import torch

from device_profiler.device import Device, open_device
from device_profiler.errors import PipelineError
from device_profiler.files import cache_folder, write_atomic
from device_profiler.measurement import Measurement
from device_profiler.protocol import MeasuredCall, measure_calls, protocol_version
from device_profiler.store import Store
from device_profiler.targets import Target
from device_profiler.workload import Array, Call, Operator, Workload
from mobile_export.artifact import Artifact
from mobile_export.boundary import to_stored
from mobile_export.export_worker import export_in_worker
from mobile_export.exporters import Calibration, toolchain
from mobile_export.program import Program
from mobile_export.session import HostSession
from mobile_export.structure import structure_hash
from mobile_export.worker import WorkerProcess
from pipeline.model import ModelSpec, build_model
from pipeline.partition import Partition
from pipeline.phone_check import compare_outputs
from pipeline.quantized import parts_calibration
from pipeline.sources import graph_code
from pipeline.workspace import content_key

PROFILE_TIMEOUT_S = 3600.0
SYNTHETIC_IMAGES = 4


class PartProfile(msgspec.Struct, frozen=True):
    """One part on one target: its latency, the operators behind it, and whether it came from the store."""

    entry: str
    structure: str
    measurement: Measurement
    operators: tuple[Operator, ...]
    reused: bool


class Profile(msgspec.Struct, frozen=True):
    """Every part of one network on one target, by entry name."""

    target: str
    parts: dict[str, PartProfile]

    @property
    def measured(self) -> int:
        """Parts that were run this time (equal parts count once)."""
        return len({part.structure for part in self.parts.values() if not part.reused})

    @property
    def distinct(self) -> int:
        """Parts that differ in structure."""
        return len({part.structure for part in self.parts.values()})


@dataclass(frozen=True)
class ProfileRequest:
    """What a profiling process needs: structure, policy, target, where the phone and the store are, and the lease."""

    spec: ModelSpec
    policy: str
    target: Target
    address: str
    lease_token: str | None = None
    store: str | None = None


class BackgroundProfile:
    """Profiling in a process of its own, started at once; use as a context manager."""

    def __init__(self, request: ProfileRequest) -> None:
        self._worker = WorkerProcess(_open, has_workers=True)
        self._worker.send(request)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.close()

    def result(self) -> Profile:
        """Wait for the profile.

        Raises:
            PipelineError: whatever stopped it, as if it had happened here.
        """
        answer = self._worker.receive("profiling the parts", PROFILE_TIMEOUT_S)
        if isinstance(answer, PipelineError):
            raise answer
        assert isinstance(answer, Profile)
        return answer


def _open() -> Callable[[object], object]:
    torch.set_num_threads(1)
    return answer_request


def answer_request(request: object) -> object:
    """The profile, or the error that stopped it (with its exit code)."""
    assert isinstance(request, ProfileRequest)
    try:
        opened = open_device(request.address, request.target, lease_token=request.lease_token)
        with opened as device, Store(request.store) as store:
            return profile_parts(request, device, store)
    except PipelineError as error:
        return error


def profile_parts(request: ProfileRequest, device: Device, store: Store) -> Profile:
    """Latency of every part, from the store where it is known for this device, target and protocol.

    Raises:
        DeviceError: the phone failed.
        VerificationError: a part did not export, or the phone computes something else than this machine.
    """
    target = request.target
    model = build_model(request.spec, seed=0)
    partition = Partition(model, request.policy)
    programs = {program.name: program for program in partition.parts()}
    structures = _structures(programs, request)
    known = {structure: _known(structure, device, target, store) for structure in set(structures.values())}
    missing = _one_each(structures, {structure for structure, part in known.items() if part is None})
    if missing:
        images = torch.rand(SYNTHETIC_IMAGES, 3, *request.spec.size, generator=torch.Generator().manual_seed(7)) * 255
        inputs = parts_calibration(model, images.numpy())
        for part in _run_parts([programs[entry] for entry in missing], structures, inputs, device, target):
            store.keep_operators(part.structure, part.operators)
            store.add(part.measurement)
            known[part.structure] = part
    found = {entry: known[structure] for entry, structure in structures.items()}
    return Profile(target.name, {entry: part for entry, part in found.items() if part is not None})


def _one_each(structures: Mapping[str, str], wanted: set[str]) -> list[str]:
    """One entry for each wanted structure: equal parts are run once."""
    first = {structure: entry for entry, structure in reversed(list(structures.items()))}
    return [entry for structure, entry in first.items() if structure in wanted]


def _structures(programs: Mapping[str, Program], request: ProfileRequest) -> dict[str, str]:
    """Structure hashes by entry, traced once for a network and then kept (tracing takes a second a part)."""
    target = request.target
    versions = sorted(toolchain(target.runtime).items())
    key = content_key(request.spec, request.policy, target.runtime, target.precision, versions, graph_code())
    path = cache_folder("structures") / f"{key}.json"
    if path.exists():
        return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    found = {entry: structure_hash(program, target.runtime, target.precision) for entry, program in programs.items()}
    write_atomic(path, msgspec.json.encode(found))
    return found


def _known(structure: str, device: Device, target: Target, store: Store) -> PartProfile | None:
    measurement = store.get(structure, device.identity.fingerprint, target.name, protocol_version(target))
    operators = store.operators(structure)
    if measurement is None or operators is None:
        return None
    return PartProfile(measurement.entry, structure, measurement, operators, reused=True)


def _run_parts(
    programs: Sequence[Program], structures: Mapping[str, str], inputs: Calibration, device: Device, target: Target
) -> list[PartProfile]:
    key = content_key("parts", [structures[program.name] for program in programs])
    file = cache_folder("parts", key) / f"parts{target.suffix}"
    wanted = {program.name: inputs[program.name] for program in programs}
    artifact = export_in_worker(
        target.runtime,
        programs,
        file,
        precision=target.precision,
        calibration=wanted if target.precision == "int8" else None,
    )
    calls = [Call(program.name, _stored(artifact, program.name, wanted)) for program in programs]
    workloads = [Workload(structures[call.entry], call, artifact.entry(call.entry).operators) for call in calls]
    measured = measure_calls(device, target, file, workloads)
    _compare_with_host(artifact, file, calls, measured)
    return [
        PartProfile(work.call.entry, work.key, found.measurement, work.operators, reused=False)
        for work, found in zip(workloads, measured, strict=True)
    ]


def _stored(artifact: Artifact, entry: str, inputs: Calibration) -> tuple[Array, ...]:
    ports = artifact.entry(entry).inputs
    return tuple(to_stored(port, value) for port, value in zip(ports, inputs[entry][0], strict=True))


def _compare_with_host(artifact: Artifact, file: Path, calls: Sequence[Call], measured: Sequence[MeasuredCall]) -> None:
    """Every part's outputs on the phone against this machine's."""
    with HostSession(file, artifact.runtime) as session:
        for call, found in zip(calls, measured, strict=True):
            names = [port.spec.name for port in artifact.entry(call.entry).outputs]
            compare_outputs(call.entry, names, found.outputs, session.run(call.entry, call.inputs))
