"""Training from start or from where it was broken off, to a checkpoint."""

from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import msgspec
import torch

from device_profiler.errors import InputError
from device_profiler.files import sha256_bytes, sha256_path
from pipeline.checkpoint import DESCRIPTION, Checkpoint, TrainingRecord, open_checkpoint, save_checkpoint
from pipeline.data.source import DataSource
from pipeline.launched import processes
from pipeline.model import ModelSpec, MultiExitModel, build_model
from pipeline.progress import Progress
from pipeline.training.augmentation import Augmentation
from pipeline.training.batches import BatchStream
from pipeline.training.engine import Engine, choose_engine
from pipeline.training.log import NoLog, TrainingLog
from pipeline.training.loop import StageRun, TrainingDiverged
from pipeline.training.one_folder import check_one_folder
from pipeline.training.schedule import TrainingMethod, TrainingSchedule
from pipeline.training.seeds import seed_of, start_heads_anew
from pipeline.training.stages import (
    BackboneStage,
    HeadPlace,
    HeadStage,
    Stage,
    groups_of,
    plain_head,
    student_places,
    with_plain_heads,
)
from pipeline.training.state import load_state, read_progress
from pipeline.training.unseen_taps import quiet_unseen_taps

STATE = "stage1.safetensors"
VERSION = 2
"""Raised whenever the code of a training changes what comes out of it; tests/golden/training.json says when that is."""

__all__ = [
    "STATE", "RunOptions", "Share", "TrainingDiverged", "UnfinishedTraining", "head_groups", "stage_one_key", "train",
    "training_key",
]  # fmt: skip


class UnfinishedTraining(InputError):
    """This share of a training is done, others are not. `missing`: groups of heads, as K/N; none after the backbone."""

    def __init__(self, message: str, missing: tuple[str, ...]) -> None:
        super().__init__(message)
        self.missing = missing


@dataclass(frozen=True)
class Share:
    """What one of several machines trains: the backbone (stage 1) alone, or after it group `number` of `of`, from 1."""

    number: int
    of: int

    @property
    def is_backbone(self) -> bool:
        """Whether it is stage 1."""
        return self.number == 0

    def __str__(self) -> str:
        return "backbone" if self.is_backbone else f"{self.number}/{self.of}"


BACKBONE = Share(0, 0)


@dataclass(frozen=True)
class RunOptions:
    """How a training is run, not what comes out of it (but for `weights`, a file to start from).

    `group_size` bounds how many heads stage 2 holds in memory with their optimiser state (0: all), for independent
    heads only; `share` trains just one share, to spread groups over machines that have the training's folder in common.
    `shared` is a folder where stage 1 is kept for other trainings that begin with the same.
    """

    weights: Path | None = None
    group_size: int = 0
    share: Share | None = None
    shared: Path | None = None
    log: TrainingLog = field(default_factory=NoLog)


def package_versions() -> dict[str, str]:
    """Versions of what decides a training's result."""
    return {name: metadata.version(name) for name in ("torch", "torchvision", "timm", "numpy")}


def training_key(spec: ModelSpec, fingerprint: str, schedule: TrainingSchedule, weights: Path | None = None) -> str:
    """Names a training: the same structure, data (a source's fingerprint), schedule and packages give the same key.

    The code of training itself counts by VERSION: by its text, every comment would throw away hours of training.
    """
    parts: tuple[object, ...] = (VERSION, spec, fingerprint, schedule, package_versions())
    trained = with_plain_heads(spec, schedule.method)
    dropped = () if trained == spec else (trained,)
    given = (sha256_path(weights),) if weights else ()
    return _key((*parts, *dropped, *given))


def stage_one_key(spec: ModelSpec, fingerprint: str, schedule: TrainingSchedule, weights: Path | None = None) -> str:
    """Names a stage 1: equal for trainings that differ in what comes after it alone."""
    heads = tuple(plain_head(spec, index) for index in range(len(spec.exits)))
    structure = (spec.backbone, spec.output_stride, spec.size, spec.classes, spec.exits, heads, spec.reference[0])
    method = schedule.method
    first = msgspec.structs.replace(
        schedule,
        distillation=schedule.exit_dropout,
        distillation_alpha=0.0,
        method=msgspec.structs.replace(method, variant="none", temperature=1.0, fresh_heads=False),
    )
    whole = () if method.independent else (spec,)
    given = (sha256_path(weights),) if weights else ()
    return _key(("stage 1", VERSION, structure, fingerprint, first, package_versions(), *whole, *given))


def _key(parts: object) -> str:
    return sha256_bytes(msgspec.json.encode(parts))[:32]


def train(
    spec: ModelSpec,
    source: DataSource,
    schedule: TrainingSchedule,
    folder: Path,
    progress: Progress,
    options: RunOptions | None = None,
) -> Checkpoint:
    """Train both stages; `folder` gets the checkpoint and, until it is there, the states to resume from.

    Interrupted (Ctrl-C, kill -9, power), the same call goes on from the last saved step and ends with the same weights
    as an undisturbed run with as many threads. Finished, it returns the checkpoint that lies there.

    Raises:
        InputError: the spec is for other classes or another size than the source has; the schedule contradicts itself;
            a share that can't be trained yet.
        UnfinishedTraining: the share that was asked for is trained, others are not.
        TrainingDiverged: the loss became infinite or NaN.
    """
    options = options or RunOptions()
    _check_match(spec, source)
    key = training_key(spec, source.fingerprint, schedule, options.weights)
    engine = choose_engine(schedule.method.precision) if processes() > 1 else None
    if engine:  # first of all: who finds a checkpoint leaves, and the others would wait for it
        for place in filter(None, (folder, options.shared)):
            check_one_folder(place, engine)
    finished = _finished(folder, key)
    if finished:
        return finished
    engine = engine or choose_engine(schedule.method.precision)
    _check_schedule(schedule, options, engine)
    with torch.random.fork_rng(devices=[]):
        training = _Training(spec, source, schedule, folder, key, options, engine)
        try:
            model = training.run(progress)
        except UnfinishedTraining:
            finished = _finished(folder, key)  # by another machine, which then cleared up
            if finished:
                return finished
            raise
    engine.wait()  # until every process has read the states
    if engine.rank == 0:
        steps = schedule.exit_dropout.steps + schedule.distillation.steps
        record = TrainingRecord(source.spec, source.fingerprint, key, steps, package_versions())
        save_checkpoint(folder, model, record)
        training.remove_states()
    engine.wait()
    return open_checkpoint(folder)


def _check_match(spec: ModelSpec, source: DataSource) -> None:
    if spec.classes != source.classes.names:
        raise InputError(
            f"the network has classes {spec.classes} but {source.spec} has {source.classes.names}: give data of the "
            "same classes"
        )
    if spec.size != source.size:
        raise InputError(f"the network takes images of size {spec.size} but {source.spec} was loaded at {source.size}")


def _check_schedule(schedule: TrainingSchedule, options: RunOptions, engine: Engine) -> None:
    """Raises InputError for what a preset file may still say, and for what only Python can say."""
    method, (low, high) = schedule.method, schedule.scale
    try:
        msgspec.convert(msgspec.to_builtins(schedule), TrainingSchedule)
    except msgspec.ValidationError as error:
        raise InputError(f"the training's schedule: {error}") from None
    if low > high:
        raise InputError(f"scale [{low:g}, {high:g}] must rise: the least enlargement first, as in [0.7, 1.8]")
    if method.scheme != "none" and not schedule.exit_dropout.steps:
        raise InputError("exit_dropout.steps 0 trains no backbone: give at least 1, or scheme = \"none\" to keep the "
                         "weights as given")
    if (options.group_size or options.share) and not method.independent:
        raise InputError("groups of heads need independent heads: choose a method with independent heads")
    for stage in (schedule.exit_dropout, schedule.distillation):
        if stage.batch % engine.processes:
            raise InputError(
                f"a batch of {stage.batch} images can't be shared by {engine.processes} processes: give a multiple in "
                "a preset file (--preset FILE.toml)"
            )


def _finished(folder: Path, key: str) -> Checkpoint | None:
    if not (folder / DESCRIPTION).is_file():
        return None
    checkpoint = open_checkpoint(folder)
    training = checkpoint.description.training
    return checkpoint if training and training.training_key == key else None


def head_groups(spec: ModelSpec, method: TrainingMethod, options: RunOptions) -> list[tuple[HeadPlace, ...]]:
    """The heads that stage 2 trains, group by group."""
    places, share = student_places(spec, method), options.share
    if share is None or share.is_backbone:
        return groups_of(places, options.group_size)
    if share.of > len(places):
        raise InputError(f"{len(places)} heads can't be {share.of} groups: give K/N with N up to {len(places)}")
    return [tuple(places[n :: share.of]) for n in range(share.of)]


@dataclass(frozen=True, eq=False)
class _Training:
    """One training: the stages in order, each with its file to resume from."""

    spec: ModelSpec
    source: DataSource
    schedule: TrainingSchedule
    folder: Path
    key: str
    options: RunOptions
    engine: Engine

    def run(self, progress: Progress) -> MultiExitModel:
        """The trained network, on the CPU."""
        schedule, method = self.schedule, self.schedule.method
        spec = with_plain_heads(self.spec, method)
        model = build_model(spec, pretrained=schedule.pretrained, weights=self.options.weights, seed=schedule.seed)
        if method.independent:
            start_heads_anew(model, schedule.seed)
        model.to(self.engine.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if method.scheme != "none":
            self._check_backbone()
            self._run(BackboneStage(model, self.source, schedule), self.stage_one(), progress)
        if self.options.share and self.options.share.is_backbone:
            raise UnfinishedTraining("the backbone is trained; now the groups of heads, 1/N to N/N, on N machines", ())
        if method.fresh_heads:
            start_heads_anew(model, seed_of(schedule.seed, "stage 2"), but_reference=True)
        groups = head_groups(self.spec, method, self.options)
        for number, places in enumerate(groups, 1):
            if schedule.distillation.steps and (not self.options.share or self.options.share.number == number):
                self._run(HeadStage(model, self.source, schedule, places), self.group(places), progress)
        if self.options.share:
            self._collect(model, groups)
        model.keep_heads(self.spec)
        quiet_unseen_taps(model)
        return model.eval().cpu()

    def _check_backbone(self) -> None:
        """Every machine's groups must be trained on one and the same backbone.

        Raises:
            InputError: a group of heads was asked for, and stage 1 is not finished.
        """
        share = self.options.share
        if share is None or share.is_backbone:
            return
        left = read_progress(*self.stage_one())
        if left is None or left.step != self.schedule.exit_dropout.steps:
            raise InputError(f"group {share} needs the trained backbone, which is not in {self.folder}: train the "
                             "share 'backbone' there first")

    def stage_one(self) -> tuple[Path, str]:
        """File and key of stage 1."""
        if not self.options.shared:
            return self.folder / STATE, self.key
        key = stage_one_key(self.spec, self.source.fingerprint, self.schedule, self.options.weights)
        return self.options.shared / f"{key}.safetensors", key

    def group(self, places: tuple[HeadPlace, ...]) -> tuple[Path, str]:
        """File and key of a group of heads."""
        name = sha256_bytes(msgspec.json.encode(places))[:12]
        return self.folder / f"heads-{name}.safetensors", f"{self.key}/{name}"

    def remove_states(self) -> None:
        """What was kept to resume; a shared stage 1 stays."""
        (self.folder / STATE).unlink(missing_ok=True)
        for path in self.folder.glob("heads-*.safetensors"):
            path.unlink()

    def _run(self, stage: Stage, place: tuple[Path, str], progress: Progress) -> None:
        augmentation = Augmentation(self.schedule.scale, self.schedule.photometric, self.source.classes.ignore)
        stream = BatchStream(
            self.source.train,
            augmentation,
            stage.schedule.batch,
            (self.schedule.seed, stage.number),
            self.engine.rank,
            self.engine.processes,
        )
        log = self.options.log if self.engine.rank == 0 else NoLog()
        StageRun(stage, stream, self.schedule, self.engine, *place, log).run(progress)

    def _collect(self, model: MultiExitModel, groups: list[tuple[HeadPlace, ...]]) -> None:
        """After one group alone: the others as they lie in the folder.

        Raises:
            UnfinishedTraining: some are not finished; they are named.
        """
        missing = []
        for number, places in enumerate(groups, 1):
            path, key = self.group(places)
            left = read_progress(path, key)
            if left is None or left.step != self.schedule.distillation.steps:
                missing.append(f"{number}/{len(groups)}")
            else:
                load_state(path, HeadStage(model, self.source, self.schedule, places).moving(), None)
        if missing:
            raise UnfinishedTraining(
                f"group {self.options.share} is trained; still to train: {', '.join(missing)}", tuple(missing)
            )
