"""Curves of a training for TensorBoard."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self


class TrainingLog(Protocol):
    """What training reports its curves to."""

    def write(self, stage: int, step: int, values: Mapping[str, float]) -> None:
        """Values after step `step` (from 1) of stage `stage`."""


class NoLog:
    """Keeps nothing."""

    def write(self, stage: int, step: int, values: Mapping[str, float]) -> None:
        """Nothing."""


class TensorBoardLog:
    """Event files in a folder: `tensorboard --logdir FOLDER`. Steps repeated after a resume are written again."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder))

    def write(self, stage: int, step: int, values: Mapping[str, float]) -> None:
        """One scalar a value, under `stage<n>/<name>`."""
        for name, value in values.items():
            self._writer.add_scalar(f"stage{stage}/{name}", value, step)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
