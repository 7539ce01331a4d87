"""Training resumes exactly, moves what it names and nothing else, and refuses what it can't follow."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import torch
from killed_training import SCHEDULE, tiny_spec
from one_convolution import one_step
from safetensors.torch import load_file
from tiny_trainings import InterruptedProgress, NotedProgress, kept_steps, same, weights
from tiny_trainings import source as source
from tiny_trainings import spec as spec

from device_profiler.errors import InputError
from pipeline.checkpoint import Checkpoint
from pipeline.data import DataSource
from pipeline.model import ModelSpec, build_model
from pipeline.progress import SilentProgress
from pipeline.training import TrainingMethod, TrainingSchedule
from pipeline.training.engine import OneProcess
from pipeline.training.run import (
    BACKBONE,
    STATE,
    RunOptions,
    Share,
    TrainingDiverged,
    UnfinishedTraining,
    head_groups,
    stage_one_key,
    train,
    training_key,
)
from pipeline.training.stages import BackboneStage, HeadStage, plain_head, with_plain_heads


def with_method(**change: object) -> TrainingSchedule:
    return msgspec.structs.replace(SCHEDULE, method=msgspec.structs.replace(SCHEDULE.method, **change))


COUPLED = with_method(independent=False)


@pytest.fixture(scope="module", params=[SCHEDULE, COUPLED], ids=["independent", "coupled"])
def schedule(request: pytest.FixtureRequest) -> TrainingSchedule:
    return request.param


@pytest.fixture(scope="module")
def undisturbed(
    spec: ModelSpec, source: DataSource, schedule: TrainingSchedule, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    train(spec, source, schedule, folder, SilentProgress())
    return folder


def test_training_leaves_a_checkpoint_that_says_where_it_comes_from(
    spec: ModelSpec, source: DataSource, schedule: TrainingSchedule, undisturbed: Path
) -> None:
    checkpoint = train(spec, source, schedule, undisturbed, InterruptedProgress(0))
    training = checkpoint.description.training
    assert training is not None and training.data == "shapes" and training.steps == 9
    assert training.training_key == training_key(spec, source.fingerprint, schedule)
    assert sorted(path.name for path in undisturbed.iterdir()) == ["model.json", "model.safetensors"]


@pytest.mark.parametrize("stop_after", [1, 3, 6, 8])
def test_interrupted_training_resumes_to_the_same_weights(
    spec: ModelSpec, source: DataSource, schedule: TrainingSchedule, undisturbed: Path, tmp_path: Path, stop_after: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(spec, source, schedule, tmp_path, InterruptedProgress(stop_after))
    assert (tmp_path / STATE).exists() == (stop_after > 2) and not (tmp_path / "model.json").exists()
    train(spec, source, schedule, tmp_path, SilentProgress())
    assert same(weights(undisturbed), weights(tmp_path))


@pytest.mark.parametrize(
    ("steps", "kept", "begun"),
    [(3, {(1, 2)}, [2, 0, 0, 0]), (8, {(1, 5), (2, 2)}, [2, 0, 0]), (10, {(1, 5), (2, 4)}, [0, 0])],
    ids=["in 1", "in 2", "between"],
)
def test_killed_training_resumes_to_the_same_weights(
    spec: ModelSpec, source: DataSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int,
    kept: set[tuple[int, int]], begun: list[int],
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    here = Path(__file__).parent
    path = os.pathsep.join([str(here.parents[1]), str(here)])
    command = [sys.executable, str(here / "killed_training.py"), str(tmp_path / "run"), str(steps)]
    threads = str(torch.get_num_threads())  # sums depend on it, and a runtime of an earlier test may have set it
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": threads}
    killed = subprocess.run(command, env=environment, timeout=300)
    assert killed.returncode == -signal.SIGKILL and not (tmp_path / "run" / "model.json").exists()
    assert kept_steps(tmp_path / "run") == kept
    for folder, expected in (("run", begun), ("whole", [0, 0, 0, 0])):
        progress = NotedProgress()
        train(spec, source, SCHEDULE, tmp_path / folder, progress, RunOptions(group_size=3))
        assert progress.begun == expected, "goes on from the saved step"
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "run"))


def test_the_state_of_another_training_is_not_resumed(
    spec: ModelSpec, source: DataSource, schedule: TrainingSchedule, undisturbed: Path, tmp_path: Path
) -> None:
    other = msgspec.structs.replace(schedule, seed=1)
    with pytest.raises(KeyboardInterrupt):
        train(spec, source, other, tmp_path, InterruptedProgress(4))
    train(spec, source, schedule, tmp_path, SilentProgress())
    assert same(weights(undisturbed), weights(tmp_path))


def test_the_key_changes_with_structure_data_schedule_and_method(spec: ModelSpec, tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(b"any")
    keys = {
        training_key(spec, "a", COUPLED),
        training_key(spec, "b", COUPLED),
        training_key(msgspec.structs.replace(spec, output_stride=32), "a", COUPLED),
        training_key(spec, "a", msgspec.structs.replace(COUPLED, scale=(0.5, 2.0))),
        training_key(spec, "a", SCHEDULE),
        training_key(spec, "a", with_method(variant="kd")),
        training_key(spec, "a", COUPLED, tmp_path / "weights.pth"),
    }
    assert len(keys) == 7


def test_any_subset_of_heads_gets_the_same_weights_whatever_trains_beside_it(
    spec: ModelSpec, source: DataSource, tmp_path: Path
) -> None:
    train(spec, source, SCHEDULE, tmp_path / "all", SilentProgress())
    for number, heads in enumerate((("lraspp-r4", "fcn-r1"), ("lraspp-r4", "fcn-r4"), ("lraspp-r4",))):
        folder = tmp_path / f"few{number}"
        checkpoint = train(tiny_spec(source, heads), source, SCHEDULE, folder, SilentProgress())
        assert checkpoint.spec.heads == (heads,) * 3
        assert same(weights(folder), weights(tmp_path / "all"))
    train(spec, source, SCHEDULE, tmp_path / "groups", SilentProgress(), RunOptions(group_size=2))
    assert same(weights(tmp_path / "all"), weights(tmp_path / "groups"))


def test_shares_train_apart_and_the_last_one_gives_the_whole_trainings_checkpoint(
    spec: ModelSpec, source: DataSource, tmp_path: Path
) -> None:
    train(spec, source, SCHEDULE, tmp_path / "whole", SilentProgress())

    def part(share: Share) -> Checkpoint:
        return train(spec, source, SCHEDULE, tmp_path / "parts", SilentProgress(), RunOptions(share=share))

    with pytest.raises(InputError, match="group 2/3 needs the trained backbone"):
        part(Share(2, 3))
    with pytest.raises(UnfinishedTraining, match="the backbone is trained"):
        part(BACKBONE)
    for number, missing in ((2, ("1/3", "3/3")), (1, ("3/3",))):
        with pytest.raises(UnfinishedTraining, match=f"group {number}/3 is trained; still to train: ") as left:
            part(Share(number, 3))
        assert left.value.missing == missing
    part(Share(3, 3))
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    assert part(Share(1, 3)).folder == tmp_path / "parts", "it is all there"


def test_more_groups_than_heads(spec: ModelSpec, source: DataSource, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"heads can't be 99 groups"):
        head_groups(spec, SCHEDULE.method, RunOptions(share=Share(1, 99)))


def test_stage_one_is_shared_by_trainings_that_differ_behind_it(
    spec: ModelSpec, source: DataSource, tmp_path: Path
) -> None:
    other = with_method(variant="kd", fresh_heads=True)
    assert stage_one_key(spec, "a", SCHEDULE) == stage_one_key(spec, "a", other)
    assert stage_one_key(spec, "a", SCHEDULE) != stage_one_key(spec, "a", with_method(scheme="end-to-end"))
    shared = RunOptions(shared=tmp_path / "shared")
    train(spec, source, SCHEDULE, tmp_path / "first", SilentProgress(), shared)
    train(spec, source, other, tmp_path / "second", SilentProgress(), shared)
    train(spec, source, other, tmp_path / "alone", SilentProgress())
    assert len(list((tmp_path / "shared").iterdir())) == 1
    assert same(weights(tmp_path / "alone"), weights(tmp_path / "second"))
    assert same(weights(tmp_path / "first"), weights(tmp_path / "second"), "blocks")
    assert not same(weights(tmp_path / "first"), weights(tmp_path / "second"), "heads.0.fcn-r1")


def test_two_half_batches_make_one_step() -> None:
    whole, halves = one_step(4, OneProcess()), one_step(2, OneProcess(), accumulate=2)
    torch.testing.assert_close(halves["gradient"], whole["gradient"], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(one_step(2, OneProcess())["gradient"], whole["gradient"], rtol=0.01)


def test_curves_are_kept_for_tensorboard(spec: ModelSpec, source: DataSource, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from pipeline.training.log import TensorBoardLog

    with TensorBoardLog(tmp_path / "curves") as log:
        train(spec, source, SCHEDULE, tmp_path / "run", SilentProgress(), RunOptions(log=log))
    events = EventAccumulator(str(tmp_path / "curves"))
    events.Reload()
    assert [event.step for event in events.Scalars("stage2/loss")] == [1, 2, 3, 4]


def test_a_loss_that_is_no_number_stops_training_names_the_batch_and_keeps_the_last_state(
    spec: ModelSpec, source: DataSource, tmp_path: Path
) -> None:
    wild = msgspec.structs.replace(SCHEDULE.distillation, head_rate=float("inf"), warmup=0)
    bad = msgspec.structs.replace(SCHEDULE, distillation=wild)
    message = (
        r"the loss of exit1 lraspp-r4 is nan at step 2 .*batch of train-\d+, train-\d+; .*lower the learning rates"
    )
    with pytest.raises(TrainingDiverged, match=message):
        train(spec, source, bad, tmp_path, SilentProgress())
    kept = load_file(tmp_path / STATE)
    assert all(torch.isfinite(value).all() for value in kept.values())


def test_a_state_with_weights_that_are_no_numbers_is_never_kept(
    spec: ModelSpec, source: DataSource, tmp_path: Path
) -> None:
    wild = msgspec.structs.replace(SCHEDULE.exit_dropout, head_rate=float("inf"), warmup=0)
    bad = msgspec.structs.replace(SCHEDULE, exit_dropout=wild, save_every=1)
    with pytest.raises(TrainingDiverged, match="a weight is no finite number after step 1"):
        train(spec, source, bad, tmp_path, SilentProgress())
    assert not (tmp_path / STATE).exists()


def test_data_of_another_size_or_with_other_classes_is_refused(
    spec: ModelSpec, source: DataSource, tmp_path: Path
) -> None:
    for change, message in (({"size": (64, 64)}, "size"), ({"classes": ("a", "b")}, "classes")):
        with pytest.raises(InputError, match=message):
            train(msgspec.structs.replace(spec, **change), source, SCHEDULE, tmp_path, SilentProgress())


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"independent": False}, RunOptions(group_size=2), "need independent heads"),
        ({"temperature": 0.0}, RunOptions(), "method.temperature"),
        ({"accumulate": 0}, RunOptions(), "method.accumulate"),
        ({"precision": "fp16"}, RunOptions(), "fp16 needs a GPU"),
    ],
)
def test_a_method_that_contradicts_itself_is_refused(
    spec: ModelSpec, source: DataSource, tmp_path: Path, change: dict[str, object], options: RunOptions, message: str
) -> None:
    if torch.cuda.is_available() and "precision" in change:
        pytest.skip("fp16 is offered here")
    with pytest.raises(InputError, match=message):
        train(spec, source, with_method(**change), tmp_path, SilentProgress(), options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": (1.5, 0.7)}, "must rise"),
        ({"save_every": 0}, "save_every"),
        ({"exit_dropout": msgspec.structs.replace(SCHEDULE.exit_dropout, steps=0)}, "trains no backbone"),
        ({"distillation": msgspec.structs.replace(SCHEDULE.distillation, steps=-1)}, "distillation.steps"),
    ],
)
def test_a_schedule_that_can_not_be_followed_is_refused(
    spec: ModelSpec, source: DataSource, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        train(spec, source, msgspec.structs.replace(SCHEDULE, **change), tmp_path, SilentProgress())


def _batch(source: DataSource) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.rand(2, 3, *source.size, generator=torch.Generator().manual_seed(0)) * 255
    return images, torch.arange(2 * 32 * 64).reshape(2, 32, 64) % 5


@pytest.mark.parametrize(
    ("scheme", "exits"),
    [
        ("round-robin", [{0, 2}, {1, 2}, {0, 2}, {1, 2}]),
        ("divisors", [{0, 2}, {0, 1, 2}, {0, 2}, {0, 1, 2}]),
        ("end-to-end", [{0, 1, 2}] * 4),
        ("last-exit", [{2}] * 4),
    ],
)
def test_stage_one_moves_the_backbone_and_the_exits_that_its_scheme_names(
    spec: ModelSpec, source: DataSource, scheme: str, exits: list[set[int]]
) -> None:
    model = build_model(spec)
    stage = BackboneStage(model, source, with_method(scheme=scheme))
    stage.prepare()
    for step, expected in enumerate(exits):
        model.zero_grad()
        for objective in stage.objectives(step, *_batch(source), seed=0):
            objective.loss.backward()
        moved = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
        heads = {(int(name.split(".")[1]), name.split(".")[2]) for name in moved if name.startswith("heads")}
        assert heads == {(e, plain_head(spec, e)) for e in expected}
        assert any(name.startswith("blocks.0") for name in moved)


@pytest.mark.parametrize(
    ("method", "still"),
    [
        ({}, True),
        ({"independent": False}, True),
        ({"variant": "labels"}, False),
        ({"variant": "labels", "scheme": "none"}, True),
    ],
    ids=["independent", "coupled", "nobody teaches", "a given network"],
)
def test_stage_two_moves_every_other_head_and_leaves_backbone_and_teacher_untouched(
    spec: ModelSpec, source: DataSource, method: dict[str, object], still: bool
) -> None:
    model = build_model(spec)
    stage = HeadStage(model, source, with_method(**method))
    stage.prepare()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD(stage.parameter_groups(), lr=0.1)
    for objective in stage.objectives(0, *_batch(source), seed=0):
        objective.loss.backward()
    optimizer.step()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    heads = {tuple(name.split(".")[1:3]) for name in changed}
    assert all(name.startswith("heads") for name in changed)
    every = {(str(e), h) for e in range(3) for h in spec.heads[e]}
    assert heads == (every - {("2", "lraspp-r4")} if still else every)


def test_stage_one_trains_a_plain_fcn_head_but_at_the_last_exit_the_full_networks(
    spec: ModelSpec, source: DataSource
) -> None:
    assert [plain_head(spec, index) for index in range(3)] == ["fcn-r1", "fcn-r1", "lraspp-r4"]
    assert with_plain_heads(spec, SCHEDULE.method) == spec
    lacking = tiny_spec(source, ("lraspp-r4", "fcn-r2"))
    heads = with_plain_heads(lacking, SCHEDULE.method).heads
    assert heads == (("lraspp-r4", "fcn-r2", "fcn-r1"),) * 2 + (("lraspp-r4", "fcn-r2"),)
    assert with_plain_heads(lacking, TrainingMethod(scheme="last-exit")) == lacking
    assert stage_one_key(lacking, "a", SCHEDULE) == stage_one_key(spec, "a", SCHEDULE)


@pytest.mark.slow
def test_mixed_precision_trains_near_fp32(spec: ModelSpec, source: DataSource, tmp_path: Path) -> None:
    """In a process of its own: Accelerate keeps one precision for the life of a process."""
    here = Path(__file__).parent
    program = (
        "import sys, msgspec; from pathlib import Path; from killed_training import *\n"
        "from pipeline.training import TrainingMethod; data = tiny_source()\n"
        "mixed = msgspec.structs.replace(SCHEDULE, method=TrainingMethod(precision='bf16'))\n"
        "train(tiny_spec(data), data, mixed, Path(sys.argv[1]), SilentProgress())"
    )
    path = os.pathsep.join([str(here.parents[1]), str(here)])
    environment = {**os.environ, "PYTHONPATH": path, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "run")], env=environment, timeout=500, check=True)
    exact = msgspec.structs.replace(SCHEDULE, method=TrainingMethod())
    train(spec, source, exact, tmp_path / "exact", SilentProgress())
    mixed, plain = weights(tmp_path / "run"), weights(tmp_path / "exact")
    gaps = {name: float((value - plain[name]).abs().max()) for name, value in mixed.items() if "weight" in name}
    assert all(torch.isfinite(value).all() for value in mixed.values())
    assert 1e-4 < max(gaps.values()) < 0.05
