from pathlib import Path

import pytest
import torch

from device_profiler.errors import InputError
from pipeline.checkpoint import TrainingRecord, load_model, open_checkpoint, save_checkpoint
from pipeline.model import MultiExitModel, build_model, design_model

RECORD = TrainingRecord("shapes", "abc", "def", 10, {"torch": "2"})


@pytest.fixture(scope="module")
def model() -> MultiExitModel:
    return build_model(design_model(("a", "b"), (64, 64), exits=2, heads=("fcn-r4",)), seed=3)


def test_a_checkpoint_round_trips(model: MultiExitModel, tmp_path: Path) -> None:
    save_checkpoint(tmp_path, model, RECORD)
    for path in (tmp_path, tmp_path / "model.json", tmp_path / "model.safetensors"):
        checkpoint = open_checkpoint(path)
        assert checkpoint.spec == model.spec and checkpoint.description.training == RECORD
    loaded = load_model(checkpoint)
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())
    assert not loaded.training


def test_nothing_there_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no checkpoint at .*model\.safetensors"):
        open_checkpoint(tmp_path / "nowhere")


@pytest.mark.parametrize("content", [b"{", b"{}", b'{"schema": 1, "spec": 3}'])
def test_a_broken_description_is_refused(model: MultiExitModel, tmp_path: Path, content: bytes) -> None:
    save_checkpoint(tmp_path, model)
    (tmp_path / "model.json").write_bytes(content)
    with pytest.raises(InputError, match="describes no checkpoint"):
        open_checkpoint(tmp_path)


def test_weights_of_another_training_are_refused(model: MultiExitModel, tmp_path: Path) -> None:
    checkpoint = save_checkpoint(tmp_path / "one", model)
    save_checkpoint(tmp_path / "two", build_model(model.spec, seed=4))
    (tmp_path / "two" / "model.safetensors").rename(checkpoint.weights)
    with pytest.raises(InputError, match="train again"):
        load_model(open_checkpoint(tmp_path / "one"))
