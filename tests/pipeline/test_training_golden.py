"""The recorded course of two tiny trainings: where it changes, cached checkpoints stand for other weights."""

import json
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest
from killed_training import SCHEDULE, tiny_source, tiny_spec

from pipeline.progress import SilentProgress
from pipeline.training.run import VERSION, RunOptions, train

GOLDEN = Path(__file__).parents[1] / "golden" / "training.json"
TOLERANCE = 0.02
"""Relative: processors round differently."""


class RecordedLosses:
    """Keeps the loss of every step."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def write(self, stage: int, step: int, values: Mapping[str, float]) -> None:
        self.losses.append(values["loss"])


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize("name", ["independent", "coupled"])
def test_a_training_takes_its_recorded_course(name: str, tmp_path: Path) -> None:
    """A change here means: raise VERSION in pipeline/training/run.py and record anew (the message has the losses)."""
    recorded = json.loads(GOLDEN.read_text())
    method = msgspec.structs.replace(SCHEDULE.method, independent=name == "independent")
    schedule = msgspec.structs.replace(SCHEDULE, method=method)
    source, log = tiny_source(), RecordedLosses()
    train(tiny_spec(source), source, schedule, tmp_path, SilentProgress(), RunOptions(log=log))
    assert recorded["version"] == VERSION
    assert log.losses == pytest.approx(recorded[name], rel=TOLERANCE), log.losses
