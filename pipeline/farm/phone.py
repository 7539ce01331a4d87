"""A phone of a farm as a deployment's: one unit does all of it, so that its figures compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

import msgspec
import numpy as np

from device_profiler.measurement import DeviceIdentity
from device_profiler.runner.results import CascadeResult, EntryEvents
from device_profiler.targets import Target
from device_profiler.workload import Array, CascadePlan
from pipeline.farm.client import Farm, emulated_only
from pipeline.farm.jobs import Job, seat_of
from pipeline.farm.kinds import (
    CASCADE,
    PROFILE,
    WATCH,
    WHOLE,
    CascadeAnswer,
    CascadeJob,
    WatchJob,
    WholeJob,
    identify_job,
    make_job,
    profile_request,
)
from pipeline.farm.packing import pack, unpack

if TYPE_CHECKING:
    from pipeline.model import ModelSpec
    from pipeline.phone_work import Profiling, WholeTimes, WholeWork
    from pipeline.profiling import Profile

Answer = TypeVar("Answer")


@dataclass(frozen=True, eq=False)
class FarmPhone:
    """A `pipeline.phone_work.PhoneWork` on the unit `seat` of `farm`. `store`: URL of the lab's, None for the hosts'.

    `note` is told of what the farm does with the jobs.
    """

    farm: Farm
    target: Target
    seat: str
    identity: DeviceIdentity
    warning: str | None
    store: str | None
    real: bool
    note: Callable[[str], None]

    @classmethod
    def take(
        cls, farm: Farm, target: Target, *, require_device: bool, store: str | None, note: Callable[[str], None]
    ) -> Self:
        """The first phone of the target that is free: one of silicon, where the farm has one.

        Raises:
            InputError: no host offers one.
            PipelineError: it failed.
        """
        real = farm.prefers_real(target, required=require_device)
        farm.check_offered(target, real=real)
        end = farm.run(msgspec.structs.replace(identify_job(target.name), store=store, real=real), note)
        if end.outcome != "done":
            raise end.as_error()
        note(f"working on {end.phone} of {end.host}")
        warning = None if real else emulated_only(target)
        identity = msgspec.json.decode(end.result, type=DeviceIdentity)
        return cls(farm, target, seat_of(end.host, end.phone), identity, warning, store, real, note)

    def profiling(
        self, spec: ModelSpec, policy: str, float_layers: tuple[str, ...]
    ) -> AbstractContextManager[Profiling]:
        """The parts are measured there, while this process goes on."""
        return FarmProfiling(self, self._job(PROFILE, profile_request(spec, policy, float_layers=float_layers)))

    def time_whole(self, work: WholeWork, advance: Callable[[], None]) -> WholeTimes:
        """See `PhoneWork`; it is told of no run before the last."""
        from pipeline.phone_work import WholeTimes

        request = WholeJob(work.key, work.file.read_bytes(), work.plan, pack(work.image), dict(work.operators))
        times = self.answer(self._job(WHOLE, request), WholeTimes)
        for _ in work.keys:
            advance()
        return times

    def run_cascade(self, file: Path, plan: CascadePlan, images: Sequence[Array]) -> list[CascadeResult]:
        """See `PhoneWork`."""
        request = CascadeJob(file.read_bytes(), plan, tuple(map(pack, images)))
        answers = self.answer(self._job(CASCADE, request), tuple[CascadeAnswer, ...])
        return [_result(answer) for answer in answers]

    def watch(self, file: Path, entries: Sequence[str]) -> tuple[EntryEvents, ...]:
        """See `PhoneWork`."""
        request = WatchJob(file.read_bytes(), tuple(entries))
        return self.answer(self._job(WATCH, request), tuple[EntryEvents, ...])

    def _job(self, kind: str, request: msgspec.Struct) -> Job:
        job = make_job(kind, self.target.name, request, only=self.seat)
        return msgspec.structs.replace(job, store=self.store, real=self.real)

    def answer(self, job: Job, kind: type[Answer]) -> Answer:
        """Have `job` done on this phone.

        Raises:
            PhoneLostError: it left the farm, or failed.
            PipelineError: what ended the job, as if it had happened here.
        """
        end = self.farm.run(job, self.note)
        if end.outcome != "done":
            raise end.as_error()
        return msgspec.json.decode(end.result, type=kind)


def _result(one: CascadeAnswer) -> CascadeResult:
    labels = unpack(one.labels).astype(np.uint8)
    return CascadeResult(
        one.exit, one.confidences, labels, one.samples_ns, one.load_ns, one.first_ns, one.peak_rss_kb
    )


class FarmProfiling:
    """Parts that a farm's phone measures meanwhile; a context manager."""

    def __init__(self, phone: FarmPhone, job: Job) -> None:
        from pipeline.profiling import Profile

        self._phone, self._pool = phone, ThreadPoolExecutor(1)
        self._profile: Future[Profile] = self._pool.submit(phone.answer, job, Profile)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind:
            self._phone.farm.close()
        self._pool.shutdown(wait=kind is None)

    def result(self) -> Profile:
        """Wait for it. Raises: as `FarmPhone.answer`."""
        return self._profile.result()
