"""Does loading keep up? How long a step of training waits for its batch, and steps against those on batches at hand.

Run: python benchmarks/training/loading.py [--data shapes] [--size 192x256] [--batch 8] [--steps 20]. On an idle
machine; both kinds of steps alternate in blocks. Writes results/loading.json.
"""

import argparse
import os
import time
from collections.abc import Iterable
from itertools import repeat
from pathlib import Path

import msgspec
import torch
from passive import wait_as_the_product
from torch import Tensor
from torch.optim import AdamW

from device_profiler.files import write_atomic
from pipeline.data import DataSource, load_source
from pipeline.data.source import DataAmounts
from pipeline.model import build_model, design_model
from pipeline.progress import terminal_progress
from pipeline.training import StageSchedule, TrainingSchedule
from pipeline.training.augmentation import Augmentation
from pipeline.training.batches import Batch, BatchStream
from pipeline.training.stages import BackboneStage

RESULTS = Path(__file__).parent / "results" / "loading.json"
AMOUNTS = DataAmounts(train=256, search=8, certify=8, test=8)
HEADS = ("lraspp-r1", "lraspp-r2", "fcn-r1", "fcn-r4")


class Figures(msgspec.Struct, frozen=True):
    """Seconds of wall clock a step; `ratio`: with loading over on batches at hand; `waiting`: share of the former."""

    data: str
    size: tuple[int, int]
    batch: int
    steps: int
    cores: int
    loading_s: float
    at_hand_s: float
    ratio: float
    waiting: float


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="shapes")
    parser.add_argument("--size", default="192x256", help="HEIGHTxWIDTH")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    height, width = (int(side) for side in arguments.size.split("x"))
    source = load_source(
        arguments.data, size=(height, width), area=0, amounts=AMOUNTS, progress=terminal_progress()
    )
    figures = measure(source, arguments.batch, arguments.steps)
    write_atomic(RESULTS, msgspec.json.format(msgspec.json.encode(figures)))
    print(msgspec.json.format(msgspec.json.encode(figures)).decode())


def measure(source: DataSource, batch: int, steps: int) -> Figures:
    """Stage 1 of the default method, in two blocks of each kind after one that does not count."""
    spec = design_model(source.classes.names, source.size, exits=6, heads=HEADS)
    model = build_model(spec).to(memory_format=torch.channels_last)
    of_stage = StageSchedule(steps=1, batch=batch, head_rate=1e-3, loss_stride=2)
    schedule = TrainingSchedule(of_stage, of_stage)
    stage = BackboneStage(model, source, schedule)
    stage.prepare()
    optimizer = AdamW(stage.parameter_groups(), fused=True)
    augmentation = Augmentation(schedule.scale, schedule.photometric, source.classes.ignore)
    stream = BatchStream(source.train, augmentation, batch, (0, 1))
    at_hand = stream.make(0)
    _block(stage, optimizer, repeat(at_hand, 2))
    loading, kept, waiting = 0.0, 0.0, 0.0
    for block in range(2):
        spent, waited = _block(stage, optimizer, stream.between(block * steps, (block + 1) * steps))
        loading, waiting = loading + spent, waiting + waited
        kept += _block(stage, optimizer, repeat(at_hand, steps))[0]
    count = 2 * steps
    return Figures(
        source.spec.partition(":")[0], source.size, batch, count, os.cpu_count() or 1, loading / count, kept / count,
        loading / kept, waiting / loading,
    )


def _block(stage: BackboneStage, optimizer: AdamW, batches: Iterable[Batch]) -> tuple[float, float]:
    """Seconds of all steps, and how many of them went by waiting for a batch; the first wait starts the stream."""
    waited, started, before = 0.0, None, time.perf_counter()
    for step, batch in enumerate(batches):
        now = time.perf_counter()
        started, waited = (now, 0.0) if started is None else (started, waited + now - before)
        images, labels = _tensors(batch)
        for objective in stage.objectives(step, images, labels, seed=0):
            objective.loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        before = time.perf_counter()
    assert started is not None
    return before - started, waited


def _tensors(batch: Batch) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(batch.images).permute(0, 3, 1, 2), torch.from_numpy(batch.labels)


if __name__ == "__main__":
    wait_as_the_product()
    main()
