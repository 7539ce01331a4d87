"""The loop over the steps of one stage: batches in, weights moved, the state saved so that it can go on."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from device_profiler.errors import PipelineError
from pipeline.progress import Progress
from pipeline.training.batches import Batch, BatchStream
from pipeline.training.engine import Engine
from pipeline.training.log import TrainingLog
from pipeline.training.schedule import StageSchedule, TrainingSchedule
from pipeline.training.seeds import seed_of
from pipeline.training.stages import Objective, Stage
from pipeline.training.state import TrainingProgress, load_state, read_progress, save_state
from pipeline.training.threads import threads_for

DECAY_POWER = 0.9
MAX_GRADIENT = 5.0


class TrainingDiverged(PipelineError):
    """The loss is no longer a number."""


@dataclass(frozen=True, eq=False)
class StageRun:
    """One stage being trained. `state` is the file to resume from, `key` names what it belongs to."""

    stage: Stage
    stream: BatchStream
    schedule: TrainingSchedule
    engine: Engine
    state: Path
    key: str
    log: TrainingLog

    def run(self, progress: Progress) -> None:
        """From the first step, or the one after the last saved, to the stage's last; the state is then all of it.

        Raises:
            TrainingDiverged: a loss or a weight became infinite or NaN; the last good state is kept.
        """
        self.stage.prepare()
        steps, done = self.stage.schedule.steps, self._done()
        if done == steps:
            self.engine.resume_scaling(load_state(self.state, self.stage.moving(), None))
            return
        plain = AdamW(self.stage.parameter_groups(), weight_decay=self.schedule.weight_decay, fused=True)
        rates = [float(group["lr"]) for group in plain.param_groups]
        if done:
            self.engine.resume_scaling(load_state(self.state, self.stage.moving(), plain))
        optimizer = self.engine.optimizer(plain)
        with progress.task(self.stage.title, steps) as advance, threads_for(self._pixels()):
            advance(done, "")
            for step, batches in self._batches(done, steps):
                factor = rate_factor(step, self.stage.schedule)
                for group, rate in zip(optimizer.param_groups, rates, strict=True):
                    group["lr"] = rate * factor
                loss = self._step(step, batches, optimizer)
                self._save(step + 1, plain)
                self.log.write(self.stage.number, step + 1, {"loss": loss, "rate": factor})
                advance(1, f"loss {loss:.3f}")

    def _pixels(self) -> int:
        height, width = self.stage.model.spec.size
        return self.stage.schedule.batch * height * width

    def _done(self) -> int:
        left = read_progress(self.state, self.key)
        return left.step if left and left.stage == self.stage.number else 0

    def _batches(self, start: int, end: int) -> Iterator[tuple[int, tuple[Batch, ...]]]:
        """The batches of each step."""
        count = self.schedule.method.accumulate
        batches = self.stream.between(start * count, end * count)
        for step in range(start, end):
            yield step, tuple(next(batches) for _ in range(count))

    def _step(self, step: int, batches: Sequence[Batch], optimizer: Optimizer) -> float:
        """Gradients of all batches, then one step; returns the sum of the losses, mean over the batches."""
        total = 0.0
        optimizer.zero_grad()
        bounded: dict[str, Sequence[nn.Parameter]] = {}
        for number, batch in enumerate(batches):
            for objective in self._objectives(step, number, batch):
                value = float(objective.loss.detach())
                self._check(value, objective, step, batch)
                self.engine.backward(objective.loss if len(batches) == 1 else objective.loss / len(batches))
                bounded[objective.title] = objective.parameters
                total += value / len(batches)
        self.engine.finish_gradients([p for parameters in bounded.values() for p in parameters], optimizer)
        for parameters in bounded.values():
            nn.utils.clip_grad_norm_(parameters, MAX_GRADIENT)
        optimizer.step()
        return total

    def _objectives(self, step: int, number: int, batch: Batch) -> Iterator[Objective]:
        more = (number, self.engine.rank) if number or self.engine.rank else ()
        seed = seed_of(self.schedule.seed, self.stage.number, step, *more)
        images = torch.from_numpy(batch.images).permute(0, 3, 1, 2).to(self.engine.device)
        labels = torch.from_numpy(batch.labels).to(self.engine.device)
        with self.engine.autocast():
            yield from self.stage.objectives(step, images, labels, seed)

    def _check(self, loss: float, objective: Objective, step: int, batch: Batch) -> None:
        if not math.isfinite(loss):
            head = f" of {objective.title}" if objective.title else ""
            raise TrainingDiverged(
                f"training diverged: the loss{head} is {loss} at step {step + 1} of {self.stage.title}, batch of "
                f"{', '.join(batch.ids)}; {self._kept()}{self._advice()}"
            )

    def _save(self, done: int, optimizer: Optimizer) -> None:
        """Save the state every few steps and at the end, unless a weight is no number any more."""
        if done % self.schedule.save_every and done != self.stage.schedule.steps:
            return
        moving = self.stage.moving()
        if not all_finite(moving.state_dict().values()):
            raise TrainingDiverged(
                f"training diverged: a weight is no finite number after step {done} of {self.stage.title}; "
                f"{self._kept()}{self._advice()}"
            )
        self.engine.average(moving.buffers())
        if self.engine.rank == 0:
            progress = TrainingProgress(self.key, self.stage.number, done)
            save_state(self.state, progress, moving, optimizer, self.engine.scaling())
        self.engine.wait()

    def _kept(self) -> str:
        done = self._done()
        return f"the state after step {done} is kept in {self.state}; " if done else ""

    def _advice(self) -> str:
        schedule = self.stage.schedule
        return f"lower the learning rates (heads {schedule.head_rate:g}, backbone {schedule.backbone_rate:g})"


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether no value is infinite or NaN."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)


def rate_factor(step: int, schedule: StageSchedule) -> float:
    """Share of the full learning rate at a step: linear warm-up, then polynomial decay to 0."""
    if step < schedule.warmup:
        return (step + 1) / (schedule.warmup + 1)
    return float((1 - step / schedule.steps) ** DECAY_POWER)
