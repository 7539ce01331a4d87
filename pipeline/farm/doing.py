"""One job on one phone: the phone's lease here, the work in a process of its own that ends with this one."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import parent_process
from multiprocessing.connection import wait

import msgspec

from device_profiler.claims import Claim
from device_profiler.device import open_device
from device_profiler.errors import PipelineError
from device_profiler.store import Store
from device_profiler.targets import find_target
from mobile_export.worker import WorkerProcess
from pipeline.farm.jobs import Job, JobEnd, ended_by

JOB_TIMEOUT_S = 3600.0


@dataclass(frozen=True)
class Work:
    """What the process is handed: the job in JSON, the phone, and the lease under which it works."""

    job: bytes
    phone: str
    lease_token: str
    claim: Claim
    store: str | None


@dataclass
class Running:
    """The jobs that run on this host now, by the address of their phone; to be stopped when the host leaves."""

    _workers: dict[str, WorkerProcess | None] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopped: bool = False

    @property
    def phones(self) -> frozenset[str]:
        """Addresses of the phones that are worked on."""
        with self._lock:
            return frozenset(self._workers)

    def stop(self) -> None:
        """End every job; none begins any more."""
        with self._lock:
            self._stopped = True
            for worker in filter(None, self._workers.values()):
                worker.stop()

    @contextmanager
    def work_on(self, phone: str) -> Iterator[None]:
        """The block works on `phone`: its host does not look at it meanwhile."""
        with self._lock:
            self._workers[phone] = None
        try:
            yield
        finally:
            with self._lock:
                del self._workers[phone]

    @contextmanager
    def process(self, phone: str) -> Iterator[WorkerProcess]:
        """A process for the job on `phone`."""
        with WorkerProcess(begin, has_workers=True) as worker:
            with self._lock:
                self._workers[phone] = worker
                if self._stopped:
                    worker.stop()
            try:
                yield worker
            finally:
                with self._lock:
                    self._workers[phone] = None


def do_job(encoded: bytes, host: str, phone: str, store: str | None, running: Running) -> JobEnd:
    """Do a job on the phone at `phone`; how it ended. Faults are noted in the phone's standing on this host."""
    job = msgspec.json.decode(encoded, type=Job)
    with running.work_on(phone):
        try:
            return JobEnd("done", host, phone, result=_result(job, encoded, phone, job.store or store, running))
        except PipelineError as error:
            return ended_by(error, host, phone)


def _result(job: Job, encoded: bytes, phone: str, place: str | None, running: Running) -> msgspec.Raw:
    """Claim the job, take the phone, have it done.

    Raises:
        PipelineError: whatever stopped it.
    """
    with Store(place, patient=True) as store:
        claim = store.claim(job.name)
    token, target = f"farm-{claim.name[:12]}-{claim.token}", find_target(job.target)
    with open_device(phone, target, require_device=job.real, lease_token=token), running.process(phone) as worker:
        answer = worker.request(Work(encoded, phone, token, claim, place), f"job {job.name}", JOB_TIMEOUT_S)
        if isinstance(answer, PipelineError):
            raise answer
        assert isinstance(answer, bytes)
        return msgspec.Raw(answer)


def begin() -> Callable[[object], object]:
    """The process's first step."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    return _answer


def _end_with_parent() -> None:
    """A host that is killed takes its jobs with it at once: their phones are anybody's from then on."""
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _answer(work: object) -> object:
    """The result in JSON, or the error that stopped it."""
    assert isinstance(work, Work)
    from pipeline.farm.kinds import do

    job = msgspec.json.decode(work.job, type=Job)
    try:
        opened = open_device(work.phone, find_target(job.target), require_device=job.real, lease_token=work.lease_token)
        with opened as device, Store(work.store, patient=True) as store:
            return do(job, device, store, work.claim)
    except PipelineError as error:
        return error
