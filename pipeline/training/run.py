"""Training from start or from where it was broken off, to a checkpoint."""

import math
from importlib import metadata
from pathlib import Path

import msgspec
import torch
from torch.optim import AdamW

from device_profiler.errors import InputError, PipelineError
from device_profiler.files import sha256_bytes
from pipeline.checkpoint import DESCRIPTION, Checkpoint, TrainingRecord, open_checkpoint, save_checkpoint
from pipeline.data.source import DataSource
from pipeline.model import ModelSpec, MultiExitModel, build_model
from pipeline.progress import Advance, Progress
from pipeline.training.batches import Augmentation, Batch, BatchStream
from pipeline.training.schedule import StageSchedule, TrainingSchedule
from pipeline.training.stages import Distillation, ExitDropout, Stage
from pipeline.training.state import TrainingProgress, load_state, read_progress, save_state

STATE = "training.safetensors"
VERSION = 1
DECAY_POWER = 0.9
MAX_GRADIENT = 5.0


class TrainingDiverged(PipelineError):
    """The loss is no longer a number."""


def package_versions() -> dict[str, str]:
    """Versions of what decides a training's result."""
    return {name: metadata.version(name) for name in ("torch", "timm", "numpy", "pillow")}


def training_key(spec: ModelSpec, fingerprint: str, schedule: TrainingSchedule) -> str:
    """Names a training: the same structure, data (a source's fingerprint), schedule and packages give the same key."""
    parts = (VERSION, spec, fingerprint, schedule, package_versions())
    return sha256_bytes(msgspec.json.encode(parts))[:32]


def train(
    spec: ModelSpec, source: DataSource, schedule: TrainingSchedule, folder: Path, progress: Progress
) -> Checkpoint:
    """Train both stages; `folder` gets the checkpoint and, until it is there, the state to resume from.

    Interrupted (Ctrl-C, power), the same call goes on from the last saved step and ends with the same weights as an
    undisturbed run. Finished, it returns the checkpoint that lies there.

    Raises:
        InputError: the spec is for other classes or another size than the source has.
        TrainingDiverged: the loss became infinite or NaN.
    """
    _check_match(spec, source)
    key = training_key(spec, source.fingerprint, schedule)
    finished = _finished(folder, key)
    if finished:
        return finished
    with torch.random.fork_rng(devices=[]):
        model = _trained(spec, source, schedule, folder / STATE, key, progress)
    steps = schedule.exit_dropout.steps + schedule.distillation.steps
    record = TrainingRecord(source.spec, source.fingerprint, key, steps, package_versions())
    checkpoint = save_checkpoint(folder, model, record)
    (folder / STATE).unlink(missing_ok=True)
    return checkpoint


def _check_match(spec: ModelSpec, source: DataSource) -> None:
    if spec.classes != source.classes.names:
        raise InputError(f"the network has classes {spec.classes} but {source.spec} has {source.classes.names}")
    if spec.size != source.size:
        raise InputError(f"the network takes images of size {spec.size} but {source.spec} was loaded at {source.size}")


def _finished(folder: Path, key: str) -> Checkpoint | None:
    if not (folder / DESCRIPTION).is_file():
        return None
    checkpoint = open_checkpoint(folder)
    training = checkpoint.description.training
    return checkpoint if training and training.training_key == key else None


def _trained(
    spec: ModelSpec, source: DataSource, schedule: TrainingSchedule, state: Path, key: str, progress: Progress
) -> MultiExitModel:
    model = build_model(spec, pretrained=schedule.pretrained, seed=schedule.seed)
    model.to(training_device(), memory_format=torch.channels_last)  # type: ignore[call-overload]
    left = read_progress(state, key)
    for stage in (ExitDropout(model, source, schedule), Distillation(model, source, schedule)):
        if left and left.stage > stage.number:
            continue
        start = left.step if left and left.stage == stage.number else 0
        _StageRun(stage, model, source, schedule, state, key).run(start, progress)
        left = None
    return model.eval().cpu()


def training_device() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class _StageRun:
    """One stage being trained: model, optimiser and where to save."""

    def __init__(
        self,
        stage: Stage,
        model: MultiExitModel,
        source: DataSource,
        schedule: TrainingSchedule,
        state: Path,
        key: str,
    ) -> None:
        self.stage, self.model, self.schedule, self.state, self.key = stage, model, schedule, state, key
        augmentation = Augmentation(schedule.scale, schedule.photometric, source.classes.ignore)
        self.stream = BatchStream(source.train, augmentation, stage.schedule.batch, (schedule.seed, stage.number))

    def run(self, start: int, progress: Progress) -> None:
        """Steps `start` to the stage's last; the state is saved every few steps and at the end."""
        self.stage.prepare()
        steps = self.stage.schedule.steps
        optimizer = AdamW(self.stage.parameter_groups(), weight_decay=self.schedule.weight_decay, fused=True)
        self.rates = [float(group["lr"]) for group in optimizer.param_groups]
        if self.state.is_file() and read_progress(self.state, self.key):
            load_state(self.state, self.model, optimizer if start else None)
        with progress.task(self.stage.title, steps) as advance:
            advance(start, "")
            for batch in self.stream.between(start, steps):
                self._step(batch, optimizer, advance)
                done = batch.step + 1
                if done % self.schedule.save_every == 0 or done == steps:
                    save_state(self.state, self._progress(done), self.model, optimizer)

    def _progress(self, done: int) -> TrainingProgress:
        return TrainingProgress(self.key, self.stage.number, done)

    def _step(self, batch: Batch, optimizer: AdamW, advance: Advance) -> None:
        torch.manual_seed(hash_seed(self.schedule.seed, self.stage.number, batch.step))
        factor = rate_factor(batch.step, self.stage.schedule)
        for group, rate in zip(optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        device = next(self.model.parameters()).device
        images = torch.from_numpy(batch.images).permute(0, 3, 1, 2).to(device)
        loss = self.stage.loss(batch.step, images, torch.from_numpy(batch.labels).to(device))
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingDiverged(
                f"training diverged: the loss is {value} at step {batch.step + 1} of {self.stage.title}; lower the "
                f"learning rates (heads {self.stage.schedule.head_rate:g}, "
                f"backbone {self.stage.schedule.backbone_rate:g})"
            )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        moving = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        torch.nn.utils.clip_grad_norm_(moving, MAX_GRADIENT)
        optimizer.step()
        advance(1, f"loss {value:.3f}")


def hash_seed(*parts: int) -> int:
    """A seed of 63 bits out of several numbers."""
    return int(sha256_bytes(repr(parts).encode())[:15], 16)


def rate_factor(step: int, schedule: StageSchedule) -> float:
    """Share of the full learning rate at a step: linear warm-up, then polynomial decay to 0."""
    if step < schedule.warmup:
        return (step + 1) / (schedule.warmup + 1)
    return float((1 - step / schedule.steps) ** DECAY_POWER)
