"""A stage of one convolution: without BatchNorm, batches and processes must add up to one gradient.

`python one_convolution.py FILE`, under a launcher: what each of two processes has of a batch of four that they share.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec
import torch
from killed_training import SCHEDULE, tiny_source
from torch import Tensor, nn

from pipeline.model import MultiExitModel
from pipeline.progress import SilentProgress
from pipeline.training import StageSchedule, TrainingMethod
from pipeline.training.augmentation import Augmentation
from pipeline.training.batches import BatchStream
from pipeline.training.engine import Engine, choose_engine
from pipeline.training.log import NoLog
from pipeline.training.loop import MAX_GRADIENT, StageRun
from pipeline.training.stages import Objective


class OneConvolution:
    """A stage whose loss is a mean over the images."""

    number, title = 1, "one convolution"

    def __init__(self, batch: int, size: tuple[int, int]) -> None:
        self.schedule = StageSchedule(steps=1, batch=batch, head_rate=1e-3)
        self.model = cast(MultiExitModel, SimpleNamespace(spec=SimpleNamespace(size=size)))
        torch.manual_seed(0)
        self.convolution = nn.Conv2d(3, 2, 3)
        self.convolution.register_buffer("brightness", torch.zeros(1))

    def prepare(self) -> None:
        """It stands ready."""

    def moving(self) -> nn.Module:
        """All of it."""
        return self.convolution

    def parameter_groups(self) -> list[dict[str, object]]:
        """One."""
        return [{"params": list(self.convolution.parameters()), "lr": self.schedule.head_rate}]

    def objectives(self, step: int, images: Tensor, labels: Tensor, seed: int) -> Iterator[Objective]:
        """One; beside it a statistic of the images, as BatchNorm keeps them."""
        self.convolution.brightness.fill_(images.mean() / 255)
        loss = self.convolution(images / 255).square().mean()
        yield Objective("", list(self.convolution.parameters()), loss)


def one_step(batch: int, engine: Engine, accumulate: int = 1) -> dict[str, Tensor]:
    """Gradient, weights and statistic after a step that sees the first `batch` times `accumulate` images."""
    source, schedule = tiny_source(), msgspec.structs.replace(SCHEDULE, method=TrainingMethod(accumulate=accumulate))
    stage = OneConvolution(batch, source.size)
    augmentation = Augmentation(schedule.scale, schedule.photometric, source.classes.ignore)
    stream = BatchStream(source.train, augmentation, batch, (0, 1), engine.rank, engine.processes)
    with tempfile.TemporaryDirectory() as folder:
        StageRun(stage, stream, schedule, engine, Path(folder, "state"), "key", NoLog()).run(SilentProgress())
    gradient = stage.convolution.weight.grad
    assert gradient is not None and 0 < gradient.norm() < MAX_GRADIENT
    return {"gradient": gradient, **stage.convolution.state_dict()}


if __name__ == "__main__":
    engine = choose_engine("fp32")
    assert engine.processes == 2
    torch.save(one_step(4, engine), sys.argv[1] + str(engine.rank))
