"""Many pieces of work over all hosts of a farm: a few at a time, sent again where a host or the scheduler is lost."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
from distributed import Client, Future, wait
from distributed.scheduler import KilledWorker

from device_profiler.errors import DeviceError, InputError
from pipeline.farm import engine
from pipeline.farm.client import LOST, PATIENCE_S, POLL_S, Farm
from pipeline.farm.jobs import JobEnd

AHEAD = 2
"""Pieces of work a host: one that it does, one that waits there."""


@dataclass
class Spread:
    """`count` pieces, piece n being `encode(n)`, done by `function(piece, shared)` on hosts that offer `resource`.

    `done(n)` is told of each. `shared` travels to each host once.
    """

    farm: Farm
    function: Callable[[bytes, bytes], bytes]
    resource: str
    count: int
    encode: Callable[[int], bytes]
    shared: bytes
    done: Callable[[int], None]
    note: Callable[[str], None]
    _ends: dict[int, msgspec.Raw] = field(default_factory=dict)

    def results(self) -> list[msgspec.Raw]:
        """What the function gave, in the pieces' order.

        Raises:
            InputError: the farm has no host.
            DeviceError: the scheduler, or the last host, went away and did not come back.
            PipelineError: what stopped a piece, as if it had happened here.
        """
        if not self.farm.hosts:
            raise InputError(f"the farm at {self.farm.address} has no host: start one by `farm worker`")
        while len(self._ends) < self.count:
            try:
                self._pass()
            except KilledWorker as error:
                raise DeviceError(f"work ended with its host {engine.DEATHS} times in a row: see these hosts' own "
                                  "output") from error
            except LOST as error:
                self.farm.join_again(error, self.note)
        return [self._ends[n] for n in range(self.count)]

    def _pass(self) -> None:
        """Whatever is not done yet.

        Raises:
            DeviceError, PipelineError: as `results`; LOST: the scheduler went away.
        """
        client = self.farm.client
        shared = client.scatter(self.shared, hash=True)
        left, sent = [n for n in range(self.count) if n not in self._ends], dict[Future, int]()
        seen = time.monotonic()
        while left or sent:
            while left and len(sent) < AHEAD * max(1, self.farm.hosts):
                piece = left.pop(0)
                sent[client.submit(
                    self.function, self.encode(piece), shared, resources={self.resource: 1}, pure=False)] = piece
            for future in _finished(client, list(sent)):
                self._keep(sent.pop(future), msgspec.json.decode(future.result(), type=JobEnd))
            if client.status != "running":
                raise OSError("the scheduler went away")
            if self.farm.hosts:
                seen = time.monotonic()
            elif time.monotonic() - seen > PATIENCE_S:
                raise DeviceError(f"no host is left in the farm at {self.farm.address} since {PATIENCE_S:.0f} s: see "
                                  "`farm status`")

    def _keep(self, piece: int, end: JobEnd) -> None:
        if end.outcome != "done":
            raise end.as_error()
        self._ends[piece] = end.result
        self.done(piece)


def _finished(client: Client, futures: list[Future]) -> list[Future]:
    """Those that ended, or were lost, after POLL_S at most."""
    try:
        with client.as_current():
            wait(futures, timeout=POLL_S, return_when="FIRST_COMPLETED")
    except TimeoutError:
        return []
    return [future for future in futures if future.done()]
