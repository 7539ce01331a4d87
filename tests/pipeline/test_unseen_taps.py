"""Taps that met only padding in training: silent at that size, zero afterwards, so larger images meet none of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from killed_training import SCHEDULE, tiny_source, tiny_spec
from torch import nn

from pipeline.checkpoint import load_model
from pipeline.head_space import ORIGINAL
from pipeline.model import MultiExitModel, build_model, design_model
from pipeline.progress import SilentProgress
from pipeline.training.run import train
from pipeline.training.unseen_taps import quiet_unseen_taps

HEADS = ("dsaspp-r1", "deeplab-r4", "fcn-r1-b3d", "lraspp-r4")


@pytest.fixture
def model(own_cache: Path) -> MultiExitModel:
    return build_model(tiny_spec(tiny_source(), HEADS), seed=3)


def silent_taps(model: MultiExitModel) -> Iterator[tuple[nn.Conv2d, torch.Tensor]]:
    """Every convolution of the heads, and which taps [kernel, kernel] no gradient reaches, told by autograd."""
    model.zero_grad()
    image = 255 * torch.rand(2, 3, *model.spec.size, generator=torch.Generator().manual_seed(1))
    for features, heads in zip(model.forward_features(image), model.heads, strict=True):
        for head in heads.children():
            for module in head.modules():
                if isinstance(module, nn.Conv2d):
                    module.register_forward_hook(lambda of, given, out: out.sum().backward(retain_graph=True))
            head(features)
            for module in head.modules():
                if isinstance(module, nn.Conv2d):
                    yield module, (module.weight.grad == 0).flatten(0, 1).all(dim=0)


def test_exactly_the_taps_that_no_gradient_reaches_become_zero(model: MultiExitModel) -> None:
    convolutions = [module for module in model.heads.modules() if isinstance(module, nn.Conv2d)]
    before = {id(convolution): convolution.weight.detach().clone() for convolution in convolutions}
    quiet_unseen_taps(model)
    silent = 0
    for convolution, taps in silent_taps(model):
        silent += int(taps.sum())
        assert not convolution.weight[:, :, taps].any()
        assert torch.equal(convolution.weight[:, :, ~taps], before[id(convolution)][:, :, ~taps])
    assert silent > 100


@torch.inference_mode()
def test_no_answer_at_the_size_of_the_training_changes(model: MultiExitModel) -> None:
    image = 255 * torch.rand(2, 3, *model.spec.size)
    before = model(image)
    quiet_unseen_taps(model)
    for of_exit, as_before in zip(model(image), before, strict=True):
        assert all(torch.equal(*pair) for pair in zip(of_exit, as_before, strict=True))


def test_a_head_that_a_network_came_with_keeps_its_taps() -> None:
    spec = design_model(("a", "b"), (64, 64), backbone="deeplabv3_mobilenet_v3_large", exits=2, heads=("dsaspp-r4",))
    model = build_model(spec)
    last = len(spec.exits) - 1
    original = {name: value.clone() for name, value in model.head(last, ORIGINAL).state_dict().items()}
    mobile = model.head(last, "dsaspp-r4").state_dict()
    before = {name: value.clone() for name, value in mobile.items()}
    quiet_unseen_taps(model)
    assert all(torch.equal(value, original[name]) for name, value in model.head(last, ORIGINAL).state_dict().items())
    assert any(not torch.equal(value, before[name]) for name, value in mobile.items())


def test_a_trained_checkpoint_has_none(own_cache: Path, tmp_path: Path) -> None:
    source = tiny_source()
    trained = load_model(train(tiny_spec(source, HEADS), source, SCHEDULE, tmp_path, SilentProgress()))
    assert sum(int(taps.sum()) for _, taps in silent_taps(trained)) > 100
    assert not any(convolution.weight[:, :, taps].any() for convolution, taps in silent_taps(trained))
