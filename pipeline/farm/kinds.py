"""What a farm does on a phone, by the job's kind. Runs in a process of its own beside the host's worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from device_profiler.claims import Claim
from device_profiler.device import Device
from device_profiler.files import sha256_bytes
from device_profiler.store import Store
from device_profiler.targets import Target, find_target
from pipeline.farm.jobs import Job

if TYPE_CHECKING:
    from pipeline.model import ModelSpec

PROFILE = "profile"


class ProfileJob(msgspec.Struct, frozen=True):
    """The request of a job of the kind `profile`: `spec` is a `pipeline.model.ModelSpec` in JSON."""

    spec: msgspec.Raw
    policy: str
    allow_fallback: bool = False


def profile_job(spec: ModelSpec, policy: str, target: str, *, allow_fallback: bool = False) -> Job:
    """The job that profiles every part of a network on a phone of `target`."""
    request = ProfileJob(msgspec.Raw(msgspec.json.encode(spec)), policy, allow_fallback)
    name = sha256_bytes(msgspec.json.encode((PROFILE, target, request)))[:32]
    return Job(name, PROFILE, target, msgspec.Raw(msgspec.json.encode(request)))


def _profile(job: Job, target: Target, device: Device, store: Store, claim: Claim) -> bytes:
    """A `pipeline.profiling.Profile`: every part on this phone; units of one model are told apart."""
    import torch

    from pipeline.model import ModelSpec
    from pipeline.profiling import ProfileRequest, profile_parts
    from pipeline.profiling_fleet import tell_units_apart

    torch.set_num_threads(1)
    asked = msgspec.json.decode(job.request, type=ProfileJob)
    spec = msgspec.json.decode(asked.spec, type=ModelSpec)
    request = ProfileRequest(spec, asked.policy, target, device.identity.address, claim=claim,
                             allow_fallback=asked.allow_fallback)
    tell_units_apart(device)
    return msgspec.json.encode(profile_parts(request, device, store))


KINDS: dict[str, Callable[[Job, Target, Device, Store, Claim], bytes]] = {PROFILE: _profile}


def do(job: Job, device: Device, store: Store, claim: Claim) -> bytes:
    """The job's result in JSON.

    Raises:
        PipelineError: as the job's function.
    """
    return KINDS[job.kind](job, find_target(job.target), device, store, claim)
