"""Errors of a farm that only the sudden end of several hosts gives: tests/farm ends one at a time."""

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn
from unittest.mock import MagicMock

import msgspec
import pytest
from distributed.scheduler import KilledWorker

from pipeline.farm import client, spreading
from pipeline.farm.address import Address
from pipeline.farm.client import Farm
from pipeline.farm.evaluator import EVALUATION, run_chunk
from pipeline.farm.jobs import Job
from pipeline.farm.spreading import Spread

JOB = Job("block_0", "measure", "pixel7-cpu", msgspec.Raw(b"{}"))


class Lost(Farm):
    """A farm in which nothing ever ends; `units` and `hosts` are those that it has."""

    def __init__(self, workers: int = 0) -> None:
        self.address, self._closed = Address("lab.example", 8786), threading.Event()
        self.asked, self.workers = 0, workers

    @property
    def hosts(self) -> int:
        """Some when it is asked first, none later."""
        self.asked += 1
        return self.workers if self.asked == 1 else 0

    @property
    def client(self) -> Any:
        """Takes everything, gives nothing."""
        future = MagicMock(status="pending")
        return SimpleNamespace(
            status="running", scatter=lambda *given, **named: None, submit=lambda *given, **named: future)

    _client = client

    def _workers(self) -> list[dict[str, Any]]:
        return []

    def send(self, job: Job, number: int) -> Any:
        """Nothing comes of it."""
        return self.client.submit()


def spread_over(farm: Farm) -> None:
    Spread(farm, run_chunk, EVALUATION, 1, lambda n: b"", b"", lambda n: None, print).results()


def job_whose_hosts_end(folder: Path, patch: pytest.MonkeyPatch) -> None:
    def ends(farm: Farm, job: Job, number: int) -> NoReturn:
        raise KilledWorker("task", SimpleNamespace(address="tcp://host:1"), 2)

    patch.setattr(Farm, "_followed", ends)
    Farm._tried(Farm.__new__(Farm), JOB, 1, print)


def chunk_whose_hosts_end(folder: Path, patch: pytest.MonkeyPatch) -> None:
    def ends(spread: Spread) -> NoReturn:
        raise KilledWorker("task", SimpleNamespace(address="tcp://host:1"), 2)

    patch.setattr(Spread, "_pass", ends)
    spread_over(Lost(workers=1))


def farm_without_a_host(folder: Path, patch: pytest.MonkeyPatch) -> None:
    spread_over(Lost())


def farm_that_all_hosts_leave(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(spreading, "PATIENCE_S", 0.0)
    patch.setattr(spreading, "_finished", lambda client, futures: [])
    spread_over(Lost(workers=1))


def phone_of_a_deployment_that_leaves(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(client, "SEAT_PATIENCE_S", 0.0)
    patch.setattr(client, "POLL_S", 0.01)
    Lost().run(msgspec.structs.replace(JOB, only="phone 127.0.0.1:5555 of lab-2"), print)


def farm_that_was_left(folder: Path, patch: pytest.MonkeyPatch) -> None:
    farm = Lost()
    farm._closed.set()
    farm.join_again(OSError(), print)
