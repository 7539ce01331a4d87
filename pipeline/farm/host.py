"""A host of the farm: looks at its phones again and again, and keeps a worker in the farm for each that is fit."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec
from distributed import Worker, rpc
from distributed.core import Status

from device_profiler.errors import DeviceError, InputError
from pipeline.farm import engine
from pipeline.farm.address import Address
from pipeline.farm.credentials import Credentials
from pipeline.farm.doing import Running
from pipeline.farm.evaluator import Seat
from pipeline.farm.offers import Offer, look
from pipeline.farm.stopping import stop_asked
from pipeline.farm.unit import HOST, Joining, Unit, worker_options
from pipeline.farm.versions import check_versions, versions_here

Joined = TypeVar("Joined", bound=Worker)
LOOK_EVERY_S = 3.0
JOIN_S = 30.0
GIVE_BACK_S = 15.0
COLLECT_S = 30.0
"""How long a phone that leaves waits for its last result to be fetched."""


class HostState(msgspec.Struct, frozen=True):
    """What a host tells of itself with every heartbeat. `busy`: addresses of phones that are worked on."""

    host: str
    store: str
    offers: tuple[Offer, ...] = ()
    busy: tuple[str, ...] = ()


async def versions_of(scheduler: Address, credentials: Credentials | None) -> dict[str, str]:
    """What the scheduler's host runs.

    Raises:
        InputError: it is no scheduler of this program.
    """
    arguments = engine.security(credentials).get_connection_args("client")
    async with rpc(f"{engine.protocol(credentials)}://{scheduler}", connection_args=arguments) as there:
        answer = await asyncio.wait_for(there.farm_versions(), JOIN_S)
    if not isinstance(answer, dict):  # the engine answers what it does not know with nothing
        raise InputError(f"what answers at {scheduler} is no scheduler of this program, or one of another version: "
                         "install the same on every host of the farm")
    return {str(name): str(version) for name, version in answer.items()}


@dataclass
class Host:
    """The workers of this host. `phones`: addresses to offer, none for all at hand; `tell` is told what changes."""

    joining: Joining
    phones: tuple[str, ...]
    tell: Callable[[str], None]
    running: Running = field(default_factory=Running)
    _seat: Seat | None = None
    _units: dict[str, Unit] = field(default_factory=dict)
    _offers: dict[str, Offer] = field(default_factory=dict)
    _paused: dict[str, float] = field(default_factory=dict)

    async def serve(self) -> None:
        """Serve until the process is asked to end; a scheduler that goes away is waited for.

        Raises:
            DeviceError: nobody answers at the scheduler's address (at the first time).
            InputError: the scheduler does not take our credentials, or runs another version.
        """
        engine.set_up()
        stop, joined = stop_asked(), False
        try:
            while not stop.is_set():
                try:
                    await self._keep_seat()
                    joined = True
                    await self._keep_units()
                except DeviceError as error:
                    if not joined:
                        raise
                    self.tell(f"waiting for the scheduler: {error}")
                except (OSError, TimeoutError, ValueError) as error:  # it went away while we joined
                    self.tell(f"not joined ({type(error).__name__}: {error}): trying again")
                await _pause(stop, LOOK_EVERY_S)
        finally:
            await self._end_jobs()
            workers: list[Worker] = [*self._units.values(), *([self._seat] if self._seat else [])]
            for worker in workers:
                await worker.close(executor_wait=False, reason="the host leaves")

    async def _end_jobs(self) -> None:
        """Stop what runs, and let it give its phones back."""
        self.running.stop()
        if self._seat:
            self._seat.stop()
        deadline = time.monotonic() + GIVE_BACK_S
        while self.running.phones and time.monotonic() < deadline:
            await asyncio.sleep(0.1)

    async def _keep_seat(self) -> None:
        """The host's own worker, which has no phone: it tells what the host has."""
        if self._seat and self._seat.status in (Status.running, Status.paused):
            return
        if self._seat:
            self._seat.stop()
        joining = self.joining
        await asyncio.to_thread(engine.check_reached, joining.scheduler, joining.credentials)
        there = await versions_of(joining.scheduler, joining.credentials)
        check_versions(versions_here(), there, f"the scheduler at {joining.scheduler}")
        self._seat = await _joined(Seat(
            joining.name, self.tell, **worker_options(joining),
            metrics={HOST: lambda worker: msgspec.to_builtins(self.state)}))
        self.tell(f"joined {joining.scheduler} as {joining.name}")

    @property
    def state(self) -> HostState:
        """As of the last look."""
        offers = tuple(self._offers[phone] for phone in sorted(self._offers))
        return HostState(self.joining.name, self.joining.store or "", offers, tuple(sorted(self.running.phones)))

    async def _keep_units(self) -> None:
        """Look at the idle phones; those that became fit join, those that no longer are leave."""
        busy = self.running.phones
        found = {offer.phone: offer for offer in await asyncio.to_thread(look, self.phones, busy)}
        gone = self._offers.keys() - found.keys() - busy - self.running.phones
        found |= {phone: msgspec.structs.replace(self._offers[phone], why_not="it is gone") for phone in gone}
        for phone, offer in found.items():
            await self._keep_unit(phone, offer)
        for phone in gone - self._units.keys():
            self._offers.pop(phone)

    async def _keep_unit(self, phone: str, offer: Offer) -> None:
        unit, known = self._units.get(phone), self._offers.get(phone)
        if phone in self.running.phones:
            return  # a job began while we looked
        self._offers[phone] = offer
        if unit and unit.status not in (Status.running, Status.paused):
            self._units.pop(phone)
            unit = None
        if not unit and not offer.why_not:
            self._units[phone] = await _joined(Unit(self.joining, offer, self.running))
            self.tell(f"offering {phone}: {offer.model} for {', '.join(offer.targets)}")
        elif unit and offer.why_not:
            await self._leave(unit, phone, offer.why_not)
        elif unit and unit.status == Status.paused and self._collected(unit, phone):
            unit.status = Status.running
        elif offer.why_not and (known is None or known.why_not != offer.why_not):
            self.tell(f"not offering {phone}: {offer.why_not}")

    async def _leave(self, unit: Unit, phone: str, why: str) -> None:
        """No new job from now on; gone once its last result was fetched."""
        unit.status = Status.paused
        if self._collected(unit, phone):
            self._units.pop(phone)
            await unit.close(executor_wait=False, reason=why)
            self.tell(f"no longer offering {phone}: {why}")

    def _collected(self, unit: Unit, phone: str) -> bool:
        since = self._paused.setdefault(phone, time.monotonic())
        if unit.data and time.monotonic() - since < COLLECT_S:
            return False
        self._paused.pop(phone)
        return True


async def _joined(worker: Joined) -> Joined:
    """The worker, once the scheduler has it.

    Raises:
        TimeoutError, ValueError, OSError: it did not join.
    """
    try:
        return await asyncio.wait_for(worker, JOIN_S)
    except BaseException:
        await worker.close(executor_wait=False)
        raise


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
