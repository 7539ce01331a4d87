"""One phone as a worker of the engine: one thread, the phone's targets as resources, pinned to its host."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from distributed import Worker, get_worker
from distributed.core import Status

from pipeline.farm import engine
from pipeline.farm.address import LOOPBACK, Address
from pipeline.farm.credentials import Credentials
from pipeline.farm.doing import Running, do_job
from pipeline.farm.jobs import JobEnd, seat_of
from pipeline.farm.offers import Offer

UNIT, HOST = "unit", "host"
"""Under these names the engine's description of a worker holds an `Offer` or a `HostState`."""
_STAYS = ("done", "model fault")


@dataclass(frozen=True)
class Joining:
    """How a host's workers join: the scheduler, their own address, credentials, the host's name and store."""

    scheduler: Address
    listen: str
    credentials: Credentials | None
    name: str
    store: str | None

    @property
    def scheduler_url(self) -> str:
        """As Dask writes it."""
        return f"{engine.protocol(self.credentials)}://{self.scheduler}"


class UnitInfo(msgspec.Struct, frozen=True):
    """What the scheduler knows of a phone's worker."""

    host: str
    offer: Offer


class Unit(Worker):  # type: ignore[misc]  # Dask's classes have no types
    """The worker of one phone. It takes no more jobs after a fault until its host has looked at the phone."""

    def __init__(self, joining: Joining, offer: Offer, running: Running) -> None:
        self.joining, self.offer, self.running = joining, offer, running
        told = msgspec.to_builtins(UnitInfo(joining.name, offer))
        super().__init__(
            **worker_options(joining), resources={**offer.resources, seat_of(joining.name, offer.phone): 1.0},
            startup_information={UNIT: lambda worker: told},
        )

    def do(self, encoded: bytes) -> JobEnd:
        """Do a job here, in the worker's own thread."""
        joining = self.joining
        end = do_job(encoded, joining.name, self.offer.phone, joining.store, self.running)
        if end.outcome not in _STAYS:
            # The scheduler hears of this before it hears that the job ended: a next try goes elsewhere.
            asyncio.run_coroutine_threadsafe(self._pause(), self.loop.asyncio_loop).result()
        return end

    async def _pause(self) -> None:
        pause(self)


def pause(worker: Worker) -> None:
    """No new job from now on; what waits for it is given to others as soon as they are idle."""
    if worker.status == Status.running:
        worker.status = Status.paused


def worker_options(joining: Joining) -> dict[str, object]:
    """What all workers of a host have in common."""
    return {
        "scheduler_ip": joining.scheduler_url, "host": joining.listen, "protocol": engine.protocol(joining.credentials),
        "security": engine.security(joining.credentials), "nthreads": 1, "memory_limit": 0,
        "dashboard": False, "dashboard_address": f"{LOOPBACK}:0", "local_directory": engine.scratch(),
    }


def run_job(encoded: bytes) -> bytes:
    """What the scheduler sends to a phone's worker: a `Job` in, a `JobEnd` out, both in JSON."""
    do: Callable[[bytes], JobEnd] = get_worker().do
    return msgspec.json.encode(do(encoded))
