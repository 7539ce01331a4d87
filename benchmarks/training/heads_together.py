"""What training heads together saves: stage 2 of G heads against one by one, and against its own parts.

Run: python benchmarks/training/heads_together.py [--heads fcn-r?,...] [--steps 3] [--size 192x256]. CPU seconds of this
process (one thread), so that other load does not count. Writes results/heads_together.json.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import torch
from torch import nn
from torch.optim import AdamW

from device_profiler.files import write_atomic
from pipeline.data.source import ClassList, DataSource, Split
from pipeline.model import MultiExitModel, build_model, design_model
from pipeline.training import StageSchedule, TrainingMethod, TrainingSchedule
from pipeline.training.stages import HeadPlace, HeadStage, student_places

RESULTS = Path(__file__).parent / "results"
CLASSES = tuple(f"class {index}" for index in range(11))
SCHEDULE = StageSchedule(steps=1, batch=4, head_rate=1e-3, loss_stride=4)
TARGET_RATIO = 1.1


class Figures(msgspec.Struct, frozen=True):
    """CPU seconds a step, one thread."""

    backbone: str
    heads: int
    size: tuple[int, int]
    batch: int
    together: float
    backbone_forward: float
    own_work: float
    one_by_one: float
    ratio_to_parts: float
    times_faster_than_one_by_one: float


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heads", default="fcn-r?,deeplab-r?,lraspp-r?,dsaspp-r?", help="16 at each exit")
    parser.add_argument("--exits", type=int, default=6)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--sampled", type=int, default=8, help="heads trained one by one; the rest is scaled up")
    parser.add_argument("--size", default="192x256", help="HEIGHTxWIDTH")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    height, width = (int(side) for side in arguments.size.split("x"))
    figures = measure((height, width), arguments.heads.split(","), arguments.exits, arguments.steps, arguments.sampled)
    write_atomic(RESULTS / "heads_together.json", msgspec.json.format(msgspec.json.encode(figures)))
    print(msgspec.json.format(msgspec.json.encode(figures)).decode())


def measure(size: tuple[int, int], heads: Sequence[str], exits: int, steps: int, sampled: int) -> Figures:
    """Time every form on the same random batch; `own_work` is a head alone on features that are there already."""
    spec = design_model(CLASSES, size, exits=exits, heads=heads)
    model = build_model(spec).to(memory_format=torch.channels_last)
    source, batch = source_of(size), batch_of(size)
    places = student_places(spec, TrainingMethod())
    together = _cpu(one_step(HeadStage(model, source, schedule_of(), places), batch), steps)
    forward = _cpu(lambda: _forward(model, batch[0]), steps)
    own = _own_work(model, source, batch, places, steps)
    few = places[:: max(1, len(places) // sampled)]
    alone = sum(_cpu(one_step(HeadStage(model, source, schedule_of(), [place]), batch), steps) for place in few)
    one_by_one = alone * len(places) / len(few)
    return Figures(
        spec.backbone, len(places), size, SCHEDULE.batch, together, forward, own, one_by_one,
        together / (forward + own), one_by_one / together,
    )


def schedule_of() -> TrainingSchedule:
    """The default method, a few images a step."""
    return TrainingSchedule(SCHEDULE, SCHEDULE, method=TrainingMethod())


def source_of(size: tuple[int, int]) -> DataSource:
    """One black image of `size` (height, width): class weights are read from it, nothing else."""
    split = Split("train", ("a",), np.zeros((1, *size, 3), np.uint8), np.zeros((1, *size), np.uint8))
    classes = ClassList(CLASSES, tuple((index, 0, 0) for index in range(len(CLASSES))))
    return DataSource("random", classes, size, split, split, split, split, "", "")


def batch_of(size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Random images float32 [B, 3, H, W] in 0..255 and labels int64 [B, H, W]."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(SCHEDULE.batch, *size, 3, generator=generator).mul(255).permute(0, 3, 1, 2)
    return images, torch.randint(0, len(CLASSES), (SCHEDULE.batch, *size), generator=generator)


def one_step(stage: HeadStage, batch: tuple[torch.Tensor, torch.Tensor]) -> Callable[[], None]:
    """One whole step of stage 2, as training does it."""
    stage.prepare()
    optimizer = AdamW(stage.parameter_groups(), fused=True)

    def step() -> None:
        optimizer.zero_grad()
        for objective in stage.objectives(0, *batch, seed=0):
            objective.loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(objective.parameters, 5.0)
        optimizer.step()

    return step


def _own_work(
    model: MultiExitModel,
    source: DataSource,
    batch: tuple[torch.Tensor, torch.Tensor],
    places: Sequence[HeadPlace],
    steps: int,
) -> float:
    """Every head's forward, loss, backward and update on given features, with the teacher's answer made once."""
    return sum(_cpu(_head_step(HeadStage(model, source, schedule_of(), [place]), batch), steps) for place in places)


def _head_step(stage: HeadStage, batch: tuple[torch.Tensor, torch.Tensor]) -> Callable[[], None]:
    """The part of a step that is the one head's own."""
    stage.prepare()
    features, teacher = stage._teacher(*batch)
    optimizer = AdamW(stage.parameter_groups(), fused=True)
    ((exit_index, head),) = stage.students()

    def step() -> None:
        optimizer.zero_grad()
        teacher.loss(head(features[exit_index])).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(list(head.parameters()), 5.0)
        optimizer.step()

    return step


@torch.no_grad()
def _forward(model: MultiExitModel, images: torch.Tensor) -> None:
    model.eval().forward_features(images)


def _cpu(work: Callable[[], None], times: int) -> float:
    """Median CPU seconds of one call, after one that does not count."""
    work()
    spent = []
    for _ in range(times):
        started = time.process_time()
        work()
        spent.append(time.process_time() - started)
    return float(np.median(spent))


if __name__ == "__main__":
    main()
