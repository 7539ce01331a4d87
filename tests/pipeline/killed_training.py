"""Trains a tiny network and kills its own process (SIGKILL): python killed_training.py FOLDER STEPS."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.data import DataAmounts, DataSource, load_source
from pipeline.model import ModelSpec, design_model
from pipeline.progress import Advance, SilentProgress
from pipeline.training import StageSchedule, TrainingMethod, TrainingSchedule
from pipeline.training.run import RunOptions, train

SCHEDULE = TrainingSchedule(
    exit_dropout=StageSchedule(steps=5, batch=2, head_rate=2e-3, backbone_rate=5e-4, warmup=1, loss_stride=2),
    distillation=StageSchedule(steps=4, batch=2, head_rate=2e-3, warmup=1, loss_stride=4),
    save_every=2,
    method=TrainingMethod(scheme="round-robin", variant="filtered-ce"),
)
HEADS = ("lraspp-r4", "fcn-r1", "fcn-r4")


class KillingProgress(SilentProgress):
    """kill -9 after so many steps in all."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[Advance]:
        yield self._advance if title.startswith("stage") else lambda steps, note: None

    def _advance(self, steps: int = 1, note: str = "") -> None:
        self.left -= steps
        if self.left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)


def tiny_source() -> DataSource:
    """Eight training images of 32x64."""
    return load_source("shapes", size=(32, 64), area=0, amounts=DataAmounts(8, 2, 2, 2))


def tiny_spec(source: DataSource, heads: tuple[str, ...] = HEADS) -> ModelSpec:
    """Three exits on a network of a few thousand weights."""
    return design_model(
        source.classes.names, source.size, backbone="user_networks:Plain", output_stride=16, exits=3, heads=heads
    )


if __name__ == "__main__":
    data = tiny_source()
    folder = Path(sys.argv[1] + (os.environ["RANK"] if "FOLDER_BY_RANK" in os.environ else ""))
    train(
        tiny_spec(data), data, SCHEDULE, folder, KillingProgress(int(sys.argv[2])), RunOptions(group_size=3)
    )
