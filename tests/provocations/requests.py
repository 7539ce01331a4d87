"""Errors about what is asked of a command, raised by calls: as flags they come after a network is built."""

from pathlib import Path

import pytest

import pipeline
from pipeline.__main__ import run
from pipeline.cli.profiling_sustained import _known, profile_sustained


def one_phone_of_several(folder: Path, patch: pytest.MonkeyPatch) -> None:
    pipeline.profile_phones("pixel7-cpu", ["127.0.0.1:5556"])


def sustained_on_every_phone(folder: Path, patch: pytest.MonkeyPatch) -> None:
    profile_sustained(None, None, None, None, ("all",), 60)  # type: ignore[arg-type]


def part_that_a_network_lacks(folder: Path, patch: pytest.MonkeyPatch) -> None:
    _known("stem", ["block_0", "head_0_fcn-r4"])


def farm_asked_for_by_launched_processes(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("WORLD_SIZE", "2")
    run(["evaluate", "--checkpoint", "checkpoint", "--farm", "127.0.0.1"])
