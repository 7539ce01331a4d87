"""What a farm does on a phone, by the job's kind. Runs in a process of its own beside the host's worker."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from device_profiler.claims import Claim
from device_profiler.device import Device, tell_units_apart
from device_profiler.files import sha256_bytes
from device_profiler.store import Store
from device_profiler.targets import Target, find_target
from device_profiler.workload import CascadePlan, Operator
from pipeline.farm.jobs import NOTHING, Job
from pipeline.farm.packing import pack, unpack

if TYPE_CHECKING:
    from pipeline.model import ModelSpec

PROFILE, IDENTIFY, WHOLE, CASCADE, WATCH = "profile", "identify", "whole", "cascade", "watch"


class ProfileJob(msgspec.Struct, frozen=True):
    """The request of a job of the kind `profile`: `spec` is a `pipeline.model.ModelSpec` in JSON."""

    spec: msgspec.Raw
    policy: str
    allow_fallback: bool = False
    float_layers: tuple[str, ...] = ()


class WholeJob(msgspec.Struct, frozen=True):
    """The request of a job of the kind `whole`: a `pipeline.phone_work.WholeWork`, its file and image as bytes."""

    key: str
    file: bytes
    plan: CascadePlan
    image: bytes
    operators: dict[str, tuple[Operator, ...]]


class CascadeJob(msgspec.Struct, frozen=True):
    """The request of a job of the kind `cascade`: a deployment's file and images, as bytes."""

    file: bytes
    plan: CascadePlan
    images: tuple[bytes, ...]


class CascadeAnswer(msgspec.Struct, frozen=True):
    """A `device_profiler.runner.results.CascadeResult`, its labels as bytes."""

    exit: int
    confidences: tuple[float, ...]
    labels: bytes
    samples_ns: tuple[int, ...]
    load_ns: int
    first_ns: int
    peak_rss_kb: int


class WatchJob(msgspec.Struct, frozen=True):
    """The request of a job of the kind `watch`: a deployment's file as bytes, and the entries to be told of."""

    file: bytes
    entries: tuple[str, ...]


def make_job(kind: str, target: str, request: msgspec.Struct, *, only: str = "") -> Job:
    """A job, named by what is asked for. `only`: see `Job`."""
    encoded = msgspec.json.encode(request)
    name = sha256_bytes(msgspec.json.encode((kind, target, only)), encoded)[:32]
    return Job(name, kind, target, msgspec.Raw(encoded), only=only)


def identify_job(target: str) -> Job:
    """The job that says which phone of `target` is free: asked anew each time."""
    return Job(uuid.uuid4().hex, IDENTIFY, target, NOTHING)


def profile_request(
    spec: ModelSpec, policy: str, *, allow_fallback: bool = False, float_layers: tuple[str, ...] = ()
) -> ProfileJob:
    """Every part of a network."""
    return ProfileJob(msgspec.Raw(msgspec.json.encode(spec)), policy, allow_fallback, float_layers)


def _identify(job: Job, target: Target, device: Device, store: Store, claim: Claim) -> bytes:
    """A `DeviceIdentity`."""
    return msgspec.json.encode(device.identity)


def _whole(job: Job, target: Target, device: Device, store: Store, claim: Claim) -> bytes:
    """A `pipeline.phone_work.WholeTimes`."""
    from pipeline.phone_work import WholeWork, time_whole

    asked = msgspec.json.decode(job.request, type=WholeJob)
    with _file(asked.file, target) as file:
        work = WholeWork(asked.key, file, asked.plan, unpack(asked.image), asked.operators)
        return msgspec.json.encode(time_whole(work, device, target, store, advance=lambda: None, claim=claim))


def _cascade(job: Job, target: Target, device: Device, store: Store, claim: Claim) -> bytes:
    """A tuple of `CascadeAnswer`."""
    from pipeline.phone_work import run_cascade

    asked = msgspec.json.decode(job.request, type=CascadeJob)
    with _file(asked.file, target) as file:
        found = run_cascade(device, target, file, asked.plan, [unpack(image) for image in asked.images])
    return msgspec.json.encode([
        CascadeAnswer(one.exit, one.confidences, pack(one.labels), one.samples_ns, one.load_ns, one.first_ns,
                      one.peak_rss_kb) for one in found])


def _watch(job: Job, target: Target, device: Device, store: Store, claim: Claim) -> bytes:
    """A tuple of `device_profiler.runner.results.EntryEvents`."""
    from device_profiler.runner.client import install

    asked = msgspec.json.decode(job.request, type=WatchJob)
    with _file(asked.file, target) as file:
        return msgspec.json.encode(install(device.transport, target.runtime).watch(file, asked.entries))


@contextmanager
def _file(content: bytes, target: Target) -> Iterator[Path]:
    """The artifact as a file of this host, while the block runs."""
    with tempfile.TemporaryDirectory(prefix="farm-") as folder:
        file = Path(folder, f"model{target.suffix}")
        file.write_bytes(content)
        yield file


def _profile(job: Job, target: Target, device: Device, store: Store, claim: Claim) -> bytes:
    """A `pipeline.profiling.Profile`: every part on this phone; units of one model are told apart."""
    import torch

    from pipeline.model import ModelSpec
    from pipeline.profiling import ProfileRequest, profile_parts

    torch.set_num_threads(1)
    asked = msgspec.json.decode(job.request, type=ProfileJob)
    spec = msgspec.json.decode(asked.spec, type=ModelSpec)
    request = ProfileRequest(spec, asked.policy, target, device.identity.address, claim=claim,
                             allow_fallback=asked.allow_fallback, float_layers=asked.float_layers)
    return msgspec.json.encode(profile_parts(request, device, store))


KINDS: dict[str, Callable[[Job, Target, Device, Store, Claim], bytes]] = {
    PROFILE: _profile, IDENTIFY: _identify, WHOLE: _whole, CASCADE: _cascade, WATCH: _watch,
}


def do(job: Job, device: Device, store: Store, claim: Claim) -> bytes:
    """The job's result in JSON. Real phones of one model are told apart in what is measured.

    Raises:
        PipelineError: as the job's function.
    """
    tell_units_apart(device)
    return KINDS[job.kind](job, find_target(job.target), device, store, claim)
