"""What a deployment asks of a phone, wherever that is: attached here, or (see pipeline.farm.phone) to a farm's host."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from device_profiler.claims import Claim
from device_profiler.device import Device, open_device
from device_profiler.measurement import DeviceIdentity, Measurement
from device_profiler.protocol import measure_cascade, protocol_version
from device_profiler.runner.client import install
from device_profiler.runner.results import CascadeResult, EntryEvents
from device_profiler.store import Store
from device_profiler.targets import Target
from device_profiler.workload import Array, CascadePlan, Operator
from pipeline.model import ModelSpec
from pipeline.profiling import BackgroundProfile, Profile, ProfileRequest


@dataclass(frozen=True, eq=False)
class WholeWork:
    """A whole deployment to be timed on one image (as stored): every path through `plan`, kept under `key`:n.

    `operators` by entry.
    """

    key: str
    file: Path
    plan: CascadePlan
    image: Array
    operators: Mapping[str, tuple[Operator, ...]]

    @property
    def keys(self) -> tuple[str, ...]:
        """Under which the latency of each path is kept."""
        return tuple(f"{self.key}:{n}" for n in range(len(self.plan.stages)))


class WholeTimes(msgspec.Struct, frozen=True):
    """Latency of every path of a whole; `reused`: they were in the store."""

    paths: tuple[Measurement, ...]
    reused: bool


class Profiling(Protocol):
    """Parts that are measured while this process does something else."""

    def result(self) -> Profile:
        """Wait for it.

        Raises:
            PipelineError: what stopped it.
        """
        ...


class PhoneWork(Protocol):
    """The phone of a deployment: who it is, what every output has to say of it, and what it does."""

    @property
    def identity(self) -> DeviceIdentity:
        """Who the phone says it is."""
        ...

    @property
    def warning(self) -> str | None:
        """To be shown with every figure taken on it."""
        ...

    def profiling(
        self, spec: ModelSpec, policy: str, float_layers: tuple[str, ...]
    ) -> AbstractContextManager[Profiling]:
        """Begin to measure every part of a network."""
        ...

    def time_whole(self, work: WholeWork, advance: Callable[[], None]) -> WholeTimes:
        """Latency of every path, image in to labels out, from the store where it is known; `advance` after each run.

        Raises:
            DeviceError: the phone failed.
        """
        ...

    def run_cascade(self, file: Path, plan: CascadePlan, images: Sequence[Array]) -> list[CascadeResult]:
        """A deployment, thresholds and all, on images as stored.

        Raises:
            DeviceError: the phone failed.
        """
        ...

    def watch(self, file: Path, entries: Sequence[str]) -> tuple[EntryEvents, ...]:
        """What runs when each entry of an ExecuTorch file does.

        Raises:
            DeviceError: the phone failed.
        """
        ...


@dataclass(frozen=True, eq=False)
class LocalPhone:
    """A phone at hand, under this process's lease. `place`: of the store, as `--store` says it."""

    device: Device
    target: Target
    store: Store
    place: str | None

    @property
    def identity(self) -> DeviceIdentity:
        """Who the phone says it is."""
        return self.device.identity

    @property
    def warning(self) -> str | None:
        """To be shown with every figure taken on it."""
        return self.device.warning

    def profiling(self, spec: ModelSpec, policy: str, float_layers: tuple[str, ...]) -> BackgroundProfile:
        """In a process of its own, which works under the same lease."""
        token = self.device.lease.token if self.device.lease else None
        return BackgroundProfile(ProfileRequest(
            spec, policy, self.target, self.identity.address, token, self.place, float_layers=float_layers))

    def time_whole(self, work: WholeWork, advance: Callable[[], None]) -> WholeTimes:
        """See `time_whole`."""
        return time_whole(work, self.device, self.target, self.store, advance=advance)

    def run_cascade(self, file: Path, plan: CascadePlan, images: Sequence[Array]) -> list[CascadeResult]:
        """See `run_cascade`."""
        return run_cascade(self.device, self.target, file, plan, images)

    def watch(self, file: Path, entries: Sequence[str]) -> tuple[EntryEvents, ...]:
        """See `PhoneWork`."""
        return install(self.device.transport, self.target.runtime).watch(file, entries)


@contextmanager
def open_phone(requested: str, target: Target, *, require_device: bool, store: str | None) -> Iterator[LocalPhone]:
    """The phone that `--device` means.

    Raises: as `open_device` and `Store`.
    """
    with open_device(requested, target, require_device=require_device) as device, Store(store) as opened:
        yield LocalPhone(device, target, opened, store)


def time_whole(
    work: WholeWork, device: Device, target: Target, store: Store, *, advance: Callable[[], None],
    claim: Claim | None = None,
) -> WholeTimes:
    """Every path timed on `device` and kept in `store` (under a farm's `claim`, once), or taken from there.

    Raises:
        DeviceError: the phone failed; a later try of the farm's job has begun (ClaimLostError).
    """
    fingerprint, version = device.identity.fingerprint, protocol_version(target, device.identity.clock)
    known = [store.get(key, fingerprint, target.name, version) for key in work.keys]
    if all(known):
        return WholeTimes(tuple(one for one in known if one is not None), reused=True)
    measured = measure_cascade(
        device, target, work.file, work.plan, work.image, key=work.key, operators=work.operators,
        progress=lambda done, total: advance(),
    )
    found = tuple(msgspec.structs.replace(one, key=key) for one, key in zip(measured, work.keys, strict=True))
    store.add_all(found, claim)
    return WholeTimes(found, reused=False)


def run_cascade(
    device: Device, target: Target, file: Path, plan: CascadePlan, images: Sequence[Array]
) -> list[CascadeResult]:
    """A deployment on images as stored, once each.

    Raises:
        DeviceError: the phone failed.
    """
    return install(device.transport, target.runtime).run_cascade(file, plan, images, warmup=0, iterations=1)
