"""From the structure of a network to latencies of its parts: what the store lacks is exported and run on the phone.

No trained weights are needed, so it runs in a process of its own while training does.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec
import torch

from device_profiler.benchmark_tool import BenchmarkTool, measure_with_tool, tool_protocol
from device_profiler.claims import Claim
from device_profiler.device import Device, open_device
from device_profiler.errors import PipelineError
from device_profiler.files import cache_folder, write_atomic
from device_profiler.measurement import Measurement
from device_profiler.protocol import measure_calls, protocol_version
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
from pipeline.model import ModelSpec, MultiExitModel, build_model
from pipeline.partition import Partition
from pipeline.phone_check import compare_outputs
from pipeline.policy_name import parse_policy
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
    """What a profiling process needs: structure, policy, target, where the phone and the store are, and the lease.

    `tool`: LiteRT's benchmark_model, where that is to measure instead of our runners. `allow_fallback`: keep figures
    that the target's unit did not give alone. `claim`: of a farm's job, whose results are written once.
    `float_layers`: layers of the network that int8 leaves in floating point.
    """

    spec: ModelSpec
    policy: str
    target: Target
    address: str
    lease_token: str | None = None
    store: str | None = None
    tool: BenchmarkTool | None = None
    allow_fallback: bool = False
    claim: Claim | None = None
    float_layers: tuple[str, ...] = ()

    def protocol(self, clock: str) -> str:
        """What a kept figure must agree in to be used again, on a phone with this kind of clock."""
        return tool_protocol(self.tool) if self.tool else protocol_version(self.target, clock)


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
    parts = plan_parts(request)
    known = known_parts(parts, device, store)
    if missing := parts.missing(known):
        known |= run_parts(export_parts(parts, missing), missing, device, store)
    return parts.profile(known)


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts of one network: a program and a structure hash by entry. Equal parts have one hash."""

    request: ProfileRequest
    model: MultiExitModel
    programs: Mapping[str, Program]
    structures: Mapping[str, str]

    def missing(self, known: Mapping[str, PartProfile]) -> list[str]:
        """One entry for each structure that is not known: equal parts are run once."""
        return _one_each(self.structures, set(self.structures.values()) - set(known))

    def profile(self, known: Mapping[str, PartProfile]) -> Profile:
        """The profile by entry, of what is known by structure."""
        return Profile(
            self.request.target.name, {entry: known[structure] for entry, structure in self.structures.items()}
        )


@dataclass(frozen=True, eq=False)
class ExportedParts:
    """Parts in one artifact, by entry: how each is called, and what this machine answers."""

    request: ProfileRequest
    file: Path
    artifact: Artifact
    structures: Mapping[str, str]
    calls: Mapping[str, Call]
    answers: Mapping[str, tuple[Array, ...]]


def plan_parts(request: ProfileRequest) -> Parts:
    """The parts of the network, before any phone is asked."""
    model = build_model(request.spec, seed=0)
    programs = {program.name: program for program in Partition(model, request.policy, request.float_layers).parts()}
    return Parts(request, model, programs, _structures(programs, request))


def known_parts(parts: Parts, device: Device, store: Store) -> dict[str, PartProfile]:
    """By structure: what the store knows for this device, target and protocol."""
    found = {structure: _known(structure, device, parts.request, store)
             for structure in set(parts.structures.values())}
    return {structure: part for structure, part in found.items() if part is not None}


def _one_each(structures: Mapping[str, str], wanted: set[str]) -> list[str]:
    """One entry for each wanted structure: equal parts are run once."""
    first = {structure: entry for entry, structure in reversed(list(structures.items()))}
    return [entry for structure, entry in first.items() if structure in wanted]


def _structures(programs: Mapping[str, Program], request: ProfileRequest) -> dict[str, str]:
    """Structure hashes by entry, traced once for a network and then kept (tracing takes a second a part)."""
    target = request.target
    versions = sorted(toolchain(target.runtime).items())
    kept = [request.float_layers] if request.float_layers else []
    key = content_key(request.spec, request.policy, target.runtime, target.precision, versions, graph_code(), *kept)
    path = cache_folder("structures") / f"{key}.json"
    if path.exists():
        return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    found = {entry: structure_hash(program, target.runtime, target.precision) for entry, program in programs.items()}
    write_atomic(path, msgspec.json.encode(found))
    return found


def _known(structure: str, device: Device, request: ProfileRequest, store: Store) -> PartProfile | None:
    identity = device.identity
    measurement = store.get(structure, identity.fingerprint, request.target.name, request.protocol(identity.clock))
    operators = store.operators(structure)
    if measurement is None or operators is None or (_fell_back(measurement) and not request.allow_fallback):
        return None
    return PartProfile(measurement.entry, structure, measurement, operators, reused=True)


def _fell_back(measurement: Measurement) -> bool:
    return measurement.verdict is not None and measurement.verdict.kind == "REFUTED"


def export_parts(parts: Parts, entries: Sequence[str]) -> ExportedParts:
    """`entries` in one artifact, on synthetic images.

    Raises:
        VerificationError: a part did not export, or does not run here.
    """
    target, spec, structures = parts.request.target, parts.request.spec, parts.structures
    images = torch.rand(SYNTHETIC_IMAGES, 3, *spec.size, generator=torch.Generator().manual_seed(7)) * 255
    inputs = parts_calibration(parts.model, parts.request.policy, images.numpy())
    wanted = {entry: inputs[entry] for entry in entries}
    file = cache_folder("parts", content_key("parts", [structures[entry] for entry in entries])) / "parts"
    file = file.with_suffix(target.suffix)
    artifact = export_in_worker(
        target.runtime,
        [parts.programs[entry] for entry in entries],
        file,
        precision=target.precision,
        calibration=wanted if target.precision == "int8" else None,
    )
    calls = {entry: Call(entry, _stored(artifact, entry, wanted)) for entry in entries}
    with HostSession(file, artifact.runtime) as session:
        answers = {entry: tuple(session.run(entry, call.inputs)) for entry, call in calls.items()}
    return ExportedParts(parts.request, file, artifact, structures, calls, answers)


def run_parts(
    exported: ExportedParts, entries: Sequence[str], device: Device, store: Store
) -> dict[str, PartProfile]:
    """By structure: `entries` measured on the phone, their outputs held against this machine's, kept in the store.

    Raises:
        DeviceError: the phone failed; a later try of the farm's job has begun (ClaimLostError).
        VerificationError: it computes something else than this machine.
    """
    workloads = [
        Workload(exported.structures[entry], exported.calls[entry], exported.artifact.entry(entry).operators)
        for entry in entries
    ]
    parts: dict[str, PartProfile] = {}
    measured = _measured(exported, workloads, device)
    for work in workloads:
        store.keep_operators(work.key, work.operators)
    store.add_all(measured, exported.request.claim)
    for work, measurement in zip(workloads, measured, strict=True):
        parts[work.key] = PartProfile(work.call.entry, work.key, measurement, work.operators, reused=False)
    return parts


def _measured(exported: ExportedParts, workloads: Sequence[Workload], device: Device) -> list[Measurement]:
    """Measured by our runners, every output compared with this machine's; or by the tool, which gives no outputs."""
    target, tool = exported.request.target, exported.request.tool
    if tool:
        return measure_with_tool(
            device, target, tool, exported.file, workloads, allow_fallback=exported.request.allow_fallback
        )
    measured = measure_calls(device, target, exported.file, workloads)
    flips = parse_policy(exported.request.policy).flips
    for work, found in zip(workloads, measured, strict=True):
        entry = work.call.entry
        compare_outputs(exported.artifact.entry(entry), found.outputs, exported.answers[entry], flips)
    return [found.measurement for found in measured]


def _stored(artifact: Artifact, entry: str, inputs: Calibration) -> tuple[Array, ...]:
    ports = artifact.entry(entry).inputs
    return tuple(to_stored(port, value) for port, value in zip(ports, inputs[entry][0], strict=True))
