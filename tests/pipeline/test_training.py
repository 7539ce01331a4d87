from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import load_file

from device_profiler.errors import InputError
from pipeline.data import DataAmounts, DataSource, load_source
from pipeline.model import ModelSpec, build_model, design_model
from pipeline.progress import Advance, SilentProgress
from pipeline.training import StageSchedule, TrainingSchedule
from pipeline.training.run import STATE, TrainingDiverged, train, training_key
from pipeline.training.stages import Distillation, ExitDropout, plain_head

SCHEDULE = TrainingSchedule(
    exit_dropout=StageSchedule(steps=5, batch=2, head_rate=2e-3, backbone_rate=5e-4, warmup=1, loss_stride=2),
    distillation=StageSchedule(steps=4, batch=2, head_rate=2e-3, warmup=1, loss_stride=4),
    save_every=2,
    pretrained=False,
)


class InterruptedProgress:
    """Ctrl-C after so many steps in all."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[Advance]:
        yield self._advance

    def _advance(self, steps: int = 1, note: str = "") -> None:
        self.left -= steps
        if self.left <= 0:
            raise KeyboardInterrupt

    def note(self, text: str) -> None:
        pass


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataSource]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield load_source("shapes", size=(32, 64), area=0, amounts=DataAmounts(8, 2, 2, 2))


@pytest.fixture(scope="module")
def spec(source: DataSource) -> ModelSpec:
    return design_model(source.classes.names, source.size, exits=3, heads=("lraspp-r4", "fcn-r1", "fcn-r4"))


@pytest.fixture(scope="module")
def undisturbed(spec: ModelSpec, source: DataSource, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    train(spec, source, SCHEDULE, folder, SilentProgress())
    return folder / "model.safetensors"


def test_training_leaves_a_checkpoint_that_says_where_it_comes_from(
    spec: ModelSpec, source: DataSource, undisturbed: Path
) -> None:
    checkpoint = train(spec, source, SCHEDULE, undisturbed.parent, InterruptedProgress(0))
    training = checkpoint.description.training
    assert training is not None and training.data == "shapes" and training.steps == 9
    assert training.training_key == training_key(spec, source.fingerprint, SCHEDULE)
    assert sorted(path.name for path in undisturbed.parent.iterdir()) == ["model.json", "model.safetensors"]


@pytest.mark.parametrize("stop_after", [1, 3, 6, 8])
def test_interrupted_training_resumes_to_the_same_weights(
    spec: ModelSpec, source: DataSource, undisturbed: Path, tmp_path: Path, stop_after: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(spec, source, SCHEDULE, tmp_path, InterruptedProgress(stop_after))
    assert (tmp_path / STATE).exists() == (stop_after > 2) and not (tmp_path / "model.json").exists()
    train(spec, source, SCHEDULE, tmp_path, SilentProgress())
    expected, resumed = load_file(undisturbed), load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(value, resumed[name]) for name, value in expected.items())


def test_the_state_of_another_training_is_not_resumed(
    spec: ModelSpec, source: DataSource, undisturbed: Path, tmp_path: Path
) -> None:
    other = msgspec.structs.replace(SCHEDULE, seed=1)
    with pytest.raises(KeyboardInterrupt):
        train(spec, source, other, tmp_path, InterruptedProgress(4))
    train(spec, source, SCHEDULE, tmp_path, SilentProgress())
    expected, got = load_file(undisturbed), load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(value, got[name]) for name, value in expected.items())


def test_the_key_changes_with_structure_data_and_schedule(spec: ModelSpec) -> None:
    keys = {
        training_key(spec, "a", SCHEDULE),
        training_key(spec, "b", SCHEDULE),
        training_key(msgspec.structs.replace(spec, output_stride=32), "a", SCHEDULE),
        training_key(spec, "a", msgspec.structs.replace(SCHEDULE, scale=(0.5, 2.0))),
    }
    assert len(keys) == 4 and training_key(spec, "a", SCHEDULE) in keys


def test_a_loss_that_is_no_number_stops_training_with_a_clear_line(
    spec: ModelSpec, source: DataSource, tmp_path: Path
) -> None:
    wild = msgspec.structs.replace(SCHEDULE.exit_dropout, head_rate=float("inf"), warmup=0)
    with pytest.raises(TrainingDiverged, match=r"the loss is nan at step 2 .*lower the learning rates"):
        train(spec, source, msgspec.structs.replace(SCHEDULE, exit_dropout=wild), tmp_path, SilentProgress())


def test_data_of_another_size_or_with_other_classes_is_refused(
    spec: ModelSpec, source: DataSource, tmp_path: Path
) -> None:
    for change, message in (({"size": (64, 64)}, "size"), ({"classes": ("a", "b")}, "classes")):
        with pytest.raises(InputError, match=message):
            train(msgspec.structs.replace(spec, **change), source, SCHEDULE, tmp_path, SilentProgress())


def _batch(source: DataSource) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.rand(2, 3, *source.size, generator=torch.Generator().manual_seed(0)) * 255
    return images, torch.arange(2 * 32 * 64).reshape(2, 32, 64) % 5


def test_stage_one_moves_the_backbone_and_one_early_exit_in_turn(spec: ModelSpec, source: DataSource) -> None:
    model = build_model(spec)
    stage = ExitDropout(model, source, SCHEDULE)
    stage.prepare()
    moved = []
    for step in range(3):
        model.zero_grad()
        stage.loss(step, *_batch(source)).backward()
        moved.append({name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0})
    heads = [
        {name.split(".")[1:3][0] + "/" + name.split(".")[2] for name in names if "heads" in name} for names in moved
    ]
    assert heads == [{"0/fcn-r1", "2/lraspp-r4"}, {"1/fcn-r1", "2/lraspp-r4"}, {"0/fcn-r1", "2/lraspp-r4"}]
    assert all(any(name.startswith("blocks.0") for name in names) for names in moved)


def test_stage_two_moves_every_other_head_and_leaves_backbone_and_teacher_untouched(
    spec: ModelSpec, source: DataSource
) -> None:
    model = build_model(spec)
    stage = Distillation(model, source, SCHEDULE)
    stage.prepare()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD(stage.parameter_groups(), lr=0.1)
    stage.loss(0, *_batch(source)).backward()
    optimizer.step()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    heads = {tuple(name.split(".")[1:3]) for name in changed}
    assert all(name.startswith("heads") for name in changed)
    assert heads == {(str(e), h) for e in range(3) for h in spec.heads[e]} - {("2", "lraspp-r4")}


def test_the_plain_head_is_the_least_reduced_fcn_but_at_the_last_exit_the_full_networks(spec: ModelSpec) -> None:
    assert [plain_head(spec, index) for index in range(3)] == ["fcn-r1", "fcn-r1", "lraspp-r4"]
