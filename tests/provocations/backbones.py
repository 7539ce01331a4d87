"""Errors about backbones, weights, checkpoints and data, raised by networks that can't be cut, files that don't fit."""

import json
import urllib.request
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from pipeline.backbones import build_backbone, outline_backbone
from pipeline.backbones.catalogue import open_network
from pipeline.backbones.weights import load_published_weights, read_weights
from pipeline.checkpoint import load_model, open_checkpoint, save_checkpoint
from pipeline.data import SPLIT_NAMES, ClassList, DataAmounts, DataSource, Split, load_source
from pipeline.data.arrays import ArrayFolder
from pipeline.model import MultiExitModel, build_model, design_model
from pipeline.network import _check_given
from pipeline.network_request import NetworkRequest
from pipeline.presets import find_preset
from pipeline.training.engine import OneProcess
from pipeline.training.one_folder import check_one_folder
from pipeline.training.run import RunOptions, _check_schedule

NO_SPLITS = tuple(Split(name, (), np.empty(0, np.uint8), np.empty(0, np.uint8)) for name in SPLIT_NAMES)
NOWHERE = "http://127.0.0.1:9"
"""Nobody listens there."""


def pooling_past_the_stride(folder: Path, patch: pytest.MonkeyPatch) -> None:
    build_backbone("squeezenet1_1", 8)


def kernel_that_does_not_dilate(folder: Path, patch: pytest.MonkeyPatch) -> None:
    build_backbone("timm/convnext_atto", 16)


def stride_that_a_network_is_not_made_for(folder: Path, patch: pytest.MonkeyPatch) -> None:
    build_backbone("fcn_resnet50", 16)


def size_that_is_not_taken(folder: Path, patch: pytest.MonkeyPatch) -> None:
    build_backbone("timm/vit_tiny_patch16_224", 32)


def no_feature_map(folder: Path, patch: pytest.MonkeyPatch) -> None:
    build_backbone("timm/xcit_nano_12_p16_224", 16)


def features_of_another_layout(folder: Path, patch: pytest.MonkeyPatch) -> None:
    outline_backbone("swin_t", 8, (256, 256))


def head_that_a_backbone_lacks(folder: Path, patch: pytest.MonkeyPatch) -> None:
    spec = design_model(("a", "b"), (64, 64), exits=2, heads=("fcn-r4",))
    build_model(msgspec.structs.replace(spec, heads=(("fcn-r4",), ("original",))))


def no_state_dict(folder: Path, patch: pytest.MonkeyPatch) -> None:
    torch.save([torch.zeros(1)], "weights.pth")
    read_weights(Path("weights.pth"))


def take_offline(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """No network, and no published weights from an earlier download."""
    patch.setenv("TORCH_HOME", str(folder))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        patch.setenv(name, NOWHERE)
    for name in ("no_proxy", "NO_PROXY"):
        patch.delenv(name, raising=False)
    patch.setattr(urllib.request, "_opener", None)  # an earlier test's, which knows no proxy


def weights_that_can_not_be_downloaded(folder: Path, patch: pytest.MonkeyPatch) -> None:
    take_offline(folder, patch)
    load_published_weights(open_network("mobilenet_v3_small", 32, 2))


def _saved(folder: Path) -> MultiExitModel:
    model = build_model(design_model(("a", "b"), (64, 64), exits=2, heads=("fcn-r4",)))
    save_checkpoint(folder, model)
    return model


def _describe(folder: Path, **fields: object) -> None:
    file = folder / "model.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def newer_checkpoint(folder: Path, patch: pytest.MonkeyPatch) -> None:
    _saved(Path("checkpoint"))
    _describe(Path("checkpoint"), schema=9)
    open_checkpoint(Path("checkpoint"))


def checkpoint_of_other_weights(folder: Path, patch: pytest.MonkeyPatch) -> None:
    model = _saved(Path("checkpoint"))
    wider = msgspec.structs.replace(model.spec, classes=("a", "b", "c"))
    _describe(Path("checkpoint"), spec=msgspec.to_builtins(wider))
    load_model(open_checkpoint(Path("checkpoint")))


def checkpoint_of_other_classes(folder: Path, patch: pytest.MonkeyPatch) -> None:
    _saved(Path("checkpoint"))
    streets = ClassList(("road", "sky"), ((0, 0, 0), (9, 9, 9)))
    source = DataSource("streets", streets, (64, 64), *NO_SPLITS, rule="none", fingerprint="none")
    _check_given(open_checkpoint(Path("checkpoint")), source, NetworkRequest(find_preset("smoke")))


def data_that_can_not_be_read_back(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """A disk that keeps nothing."""
    patch.setattr(ArrayFolder, "load", lambda arrays: None)
    load_source("shapes", size=(32, 32), area=32 * 32, amounts=DataAmounts(2, 1, 1, 1))


def folder_that_one_process_sees_alone(folder: Path, patch: pytest.MonkeyPatch) -> None:
    second = OneProcess()
    second.rank, second.processes = 1, 2
    check_one_folder(folder / "node1", second)


def batch_that_two_processes_can_not_share(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(OneProcess, "processes", 2)
    schedule = find_preset("smoke").training
    odd = msgspec.structs.replace(schedule, distillation=msgspec.structs.replace(schedule.distillation, batch=5))
    _check_schedule(odd, RunOptions(), OneProcess())
