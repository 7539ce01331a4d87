"""Commands on a farm: what is offered there, and a job sent to a phone and followed until it ended."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import msgspec
from distributed import Client, Future
from distributed.comm import CommClosedError
from distributed.scheduler import KilledWorker

from device_profiler.errors import DeviceError, InputError
from device_profiler.outcomes import RETRIED
from device_profiler.targets import Target
from pipeline.farm import engine
from pipeline.farm.address import Address
from pipeline.farm.credentials import Credentials
from pipeline.farm.host import HostState, versions_of
from pipeline.farm.jobs import REAL, Job, JobEnd, PhoneLostError, seat_of
from pipeline.farm.unit import HOST, UNIT, UnitInfo, run_job
from pipeline.farm.versions import check_versions, versions_here

TRIES = 3
"""Of a job that may go better on another phone."""
MOVES = 20
"""From phones that turned out to be somebody else's, or set aside: nothing was tried on them."""
PATIENCE_S = 90.0
"""For a scheduler that is started again, and for a phone of the target to come back."""
SEAT_PATIENCE_S = 20.0
"""For the one phone that may do a job: another one can do all that it did."""
POLL_S = 1.0
LOST = (CancelledError, asyncio.CancelledError, CommClosedError, OSError, TimeoutError)


class FarmState(msgspec.Struct, frozen=True):
    """Every host with its phones, how many phones each target has in the farm now, and the jobs that run or wait."""

    hosts: tuple[HostState, ...]
    targets: dict[str, int]
    jobs: int


class Farm:
    """A connection to a farm, to be used as a context manager.

    Raises:
        DeviceError: nobody answers at the address.
        InputError: the farm does not take our credentials, or its scheduler runs another version.
    """

    def __init__(self, address: Address, credentials: Credentials | None) -> None:
        engine.set_up()
        self.address, self._credentials = address, credentials
        engine.check_reached(address, credentials)
        with ThreadPoolExecutor(1) as pool:  # a notebook runs an event loop in this thread
            there = pool.submit(asyncio.run, versions_of(address, credentials)).result()
        check_versions(versions_here(), there, f"the scheduler at {address}")
        self._client, self._closed = self._connect(), threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the farm; jobs that are waited for in other threads end with a DeviceError."""
        self._closed.set()
        self._client.close()

    def _connect(self) -> Client:
        return Client(
            f"{engine.protocol(self._credentials)}://{self.address}", security=engine.security(self._credentials),
            set_as_default=False, timeout=engine.LOOK_S, name="mess-deploy",
        )

    @property
    def client(self) -> Client:
        """The engine's connection as it is now."""
        return self._client

    @property
    def hosts(self) -> int:
        """How many hosts are in the farm now."""
        return sum(HOST in one["metrics"] for one in self._workers())

    def state(self) -> FarmState:
        """What the scheduler knows now."""
        workers = self._workers()
        hosts = [msgspec.convert(one["metrics"][HOST], HostState) for one in workers if HOST in one["metrics"]]
        jobs = sum(len(keys) for keys in self._client.processing().values())
        return FarmState(tuple(sorted(hosts, key=lambda host: host.host)), _offered(workers), jobs)

    def _workers(self) -> list[dict[str, Any]]:
        return list(self._client.scheduler_info(n_workers=-1)["workers"].values())

    def run(self, job: Job, note: Callable[[str], None]) -> JobEnd:
        """Do `job` on a phone of its target; after a fault on another one. `note` is told of every move.

        Raises:
            PhoneLostError: the one phone that may do it went away or failed.
            DeviceError: the scheduler, or the last phone of the target, went away and did not come back.
        """
        tries = moves = 0
        while True:
            end = self._tried(job, tries + moves, note)
            if job.only and end.outcome in (*RETRIED, "not available"):
                raise PhoneLostError(str(end.as_error()))
            if end.outcome in RETRIED:
                tries += 1
            elif end.outcome == "not available":
                moves += 1
            else:
                return end
            if tries >= TRIES or moves >= MOVES:
                return end
            note(f"{end.outcome} on {end.phone} of {end.host}: {end.error}; trying again")

    def prefers_real(self, target: Target, *, required: bool) -> bool:
        """Whether a job is for phones that are not emulated: where the farm has one, or one is `required`."""
        return required or target.name + REAL in _offered(self._workers())

    def check_offered(self, target: Target, *, real: bool) -> None:
        """Raises InputError where no worker offers the target, with those that are offered."""
        offered = _offered(self._workers())
        if target.name + (REAL if real else "") not in offered:
            told = ", ".join(f"{name} ({count})" for name, count in offered.items() if not name.endswith(REAL))
            raise InputError(f"no host of the farm at {self.address} offers {'a real' if real else 'any'} "
                             f"{target.device} for {target.name}; it offers {told or 'no phone at all'}; attach one to "
                             "a host, or choose one of these targets")

    def send(self, job: Job, number: int) -> Future:
        """Queue try `number` of `job`; a command that sends the same gets the same future's result."""
        encoded, key = msgspec.json.encode(job), f"{job.kind}-{job.name}-{number}"
        return self._client.submit(run_job, encoded, key=key, resources={job.resource: 1}, pure=False)

    def ends(self, futures: Sequence[Future]) -> list[JobEnd]:
        """Ends of jobs that were sent, in the futures' order, once all are there."""
        return [msgspec.json.decode(end, type=JobEnd) for end in self._client.gather(list(futures))]

    def _tried(self, job: Job, number: int, note: Callable[[str], None]) -> JobEnd:
        """One try. A scheduler that was started anew knows nothing of it: it is sent again, the store knows the rest.

        Raises: as `run`.
        """
        while True:
            try:
                return self._followed(job, number)
            except KilledWorker as error:
                raise DeviceError(f"job {job.name} ended with its host {engine.DEATHS} times in a row: see these "
                                  "hosts' own output") from error
            except LOST as error:
                self.join_again(error, note)

    def _followed(self, job: Job, number: int) -> JobEnd:
        """Wait for the end; the farm may be without a phone for the job for PATIENCE_S at most."""
        future, ended = self.send(job, number), threading.Event()
        future.add_done_callback(lambda done: ended.set())
        try:
            seen = time.monotonic()
            while not _has_ended(future, ended):
                if self._client.status != "running":
                    raise CommClosedError("the scheduler went away")
                if self._has_seat(job):
                    seen = time.monotonic()
                elif job.only and time.monotonic() - seen > SEAT_PATIENCE_S:
                    raise PhoneLostError(f"{job.only} left the farm at {self.address}: see `farm status`")
                elif time.monotonic() - seen > PATIENCE_S:
                    raise DeviceError(f"no phone for {job.target} is left in the farm at {self.address} since "
                                      f"{PATIENCE_S:.0f} s: see `farm status`; what was measured is kept, and the same "
                                      "command goes on from there")
            return self.ends([future])[0]
        finally:
            future.release()

    def _has_seat(self, job: Job) -> bool:
        """Whether a phone that may do the job is in the farm, working or idle."""
        units = _units(self._workers())
        if job.only:
            return job.only in {seat_of(unit.host, unit.offer.phone) for unit in units}
        return any(job.resource in unit.offer.resources for unit in units)

    def join_again(self, lost: BaseException, note: Callable[[str], None]) -> None:
        """Connect anew to the scheduler, which was `lost`.

        Raises:
            DeviceError: it did not come back within PATIENCE_S, or this connection was closed.
        """
        if self._closed.is_set():
            raise DeviceError(f"the farm at {self.address} was left: what was asked of it is given up") from lost
        note(f"the scheduler at {self.address} was lost ({type(lost).__name__}): joining it again")
        self._client.close(timeout=2)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                engine.check_reached(self.address, self._credentials)
                self._client = self._connect()
                self._wait_for_hosts(deadline)
                return
            except (*LOST, DeviceError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(POLL_S)

    def _wait_for_hosts(self, deadline: float) -> None:
        while not self._workers() and time.monotonic() < deadline:
            time.sleep(POLL_S)


def emulated_only(target: Target) -> str:
    """What every output has to say where the farm has no phone of silicon."""
    return (f"the farm has no {target.device} but emulated ones: CPU times are estimates of a virtual clock, not "
            "measurements")


def _has_ended(future: Future, ended: threading.Event) -> bool:
    """Wait for the end for POLL_S; a future that the scheduler no longer knows has ended too."""
    return ended.wait(POLL_S) or future.status in ("cancelled", "lost")


def _units(workers: list[dict[str, Any]]) -> list[UnitInfo]:
    """The phones that are in the farm, working or idle."""
    return [msgspec.convert(one[UNIT], UnitInfo) for one in workers if UNIT in one and one["status"] == "running"]


def _offered(workers: list[dict[str, Any]]) -> dict[str, int]:
    """How many phones there are by resource."""
    return dict(sorted(Counter(name for unit in _units(workers) for name in unit.offer.resources).items()))
