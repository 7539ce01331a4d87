"""Errors of a farm that only the sudden end of several hosts gives: tests/farm ends one at a time."""

from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import msgspec
import pytest
from distributed.scheduler import KilledWorker

from pipeline.farm.client import Farm
from pipeline.farm.jobs import Job


def job_whose_hosts_end(folder: Path, patch: pytest.MonkeyPatch) -> None:
    def ends(farm: Farm, job: Job, number: int) -> NoReturn:
        raise KilledWorker("task", SimpleNamespace(address="tcp://host:1"), 2)

    patch.setattr(Farm, "_followed", ends)
    Farm._tried(Farm.__new__(Farm), Job("block_0", "measure", "pixel7-cpu", msgspec.Raw(b"{}")), 1, print)
