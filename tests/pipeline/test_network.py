"""From a request to a network: heads, weights, policies and sizes as the command line states them."""

import json
from pathlib import Path

import pytest
import torch
from killed_training import tiny_source, tiny_spec

from device_profiler.errors import InputError
from pipeline.__main__ import run
from pipeline.checkpoint import load_model, open_checkpoint, save_checkpoint
from pipeline.evaluation import evaluate_policies
from pipeline.exit_statistics import ExitStatistics
from pipeline.model import build_model
from pipeline.network import prepare_network
from pipeline.network_request import NetworkRequest
from pipeline.presets import find_preset
from pipeline.progress import SilentProgress
from pipeline.training.run import training_key
from pipeline.workspace import Workspace

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def checkpoint(own_cache: Path, tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "checkpoint", build_model(tiny_spec(tiny_source()), seed=2))
    return tmp_path / "checkpoint"


def test_one_checkpoint_serves_every_size_with_the_same_weights(checkpoint: Path) -> None:
    stored = open_checkpoint(checkpoint)
    models = [load_model(stored.at_size(size)) for size in ((32, 64), (96, 64))]
    for model, (height, width) in zip(models, ((32, 64), (96, 64)), strict=True):
        assert model(torch.zeros(1, 3, height, width))[-1][0].shape[2:] == (height // 16, width // 16)
        assert model.feature_shapes[-1][2:] == (height // 16, width // 16)
    first, second = (model.state_dict() for model in models)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_evaluate_takes_a_checkpoint_at_another_size_and_under_several_policies(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "--checkpoint", str(checkpoint), "--data", "shapes", "--preset", "smoke", "--json"]
    macs = []
    for size in ("64x32", "128x64"):
        run([*words, "--size", size, "--policy", "mean", "--policy", "patch:0.05", "--run", str(tmp_path / size)])
        macs.append(json.loads(capsys.readouterr().out)["exits"][-1]["macs"])
    assert macs[1] == pytest.approx(4 * macs[0], rel=0.02)
    policies = {path.name: ExitStatistics.load(path).policy for path in (tmp_path / "64x32").glob("*.npz")}
    assert policies == {"statistics.npz": "mean", "statistics-patch-0.05.npz": "patch:0.05"}


def test_weights_none_starts_from_random_ones_in_a_training_of_its_own(tmp_path: Path) -> None:
    published = prepare_network(_request(tmp_path), Workspace(tmp_path / "a", SilentProgress()))
    random = prepare_network(_request(tmp_path, weights=Path("none")), Workspace(tmp_path / "b", SilentProgress()))
    assert random.weights is None and random.spec == published.spec
    assert published.preset.training.pretrained and not random.preset.training.pretrained
    keys = {training_key(n.spec, n.source.fingerprint, n.preset.training, n.weights) for n in (published, random)}
    assert len(keys) == 2


def test_several_policies_take_one_pass_and_those_that_are_kept_none(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[list[str]] = []

    def counted(*arguments: object, **options: object) -> object:
        passes.append(list(options["policies"]))  # type: ignore[call-overload]
        return evaluate_policies(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("pipeline.network.evaluate_policies", counted)
    words = ["evaluate", "--checkpoint", str(checkpoint), "--data", "shapes", "--preset", "smoke", "--size", "32x32"]
    for asked in (("median",), ("median", "margin", "entropy")):
        policies = [word for policy in asked for word in ("--policy", policy)]
        run([*words, *policies, "--run", str(tmp_path / "run")])
    assert passes == [["median"], ["margin", "entropy"]]


def _request(tmp_path: Path, **change: object) -> NetworkRequest:
    return NetworkRequest(find_preset("smoke"), backbone="user_networks:Plain", **change)  # type: ignore[arg-type]


def test_heads_and_policy_of_the_request_win_over_the_presets(tmp_path: Path) -> None:
    request = _request(tmp_path, heads=("lraspp-r[24]", "fcn-r8"), policy="share:0.9")
    network = prepare_network(request, Workspace(tmp_path / "run", SilentProgress()))
    assert network.spec.heads == (("lraspp-r2", "lraspp-r4", "fcn-r8"),) * 3 and network.policy == "share:0.9"


@pytest.mark.parametrize(
    ("change", "message"),
    [({"heads": ("unet-r1",)}, "unknown head 'unet-r1'"), ({"policy": "luck"}, "unknown exit policy 'luck'")],
)
def test_what_a_request_names_is_checked(tmp_path: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        prepare_network(_request(tmp_path, **change), Workspace(tmp_path / "run", SilentProgress()))


def test_a_segmentation_network_is_designed_at_its_own_output_stride(tmp_path: Path) -> None:
    request = NetworkRequest(find_preset("smoke"), backbone="lraspp_mobilenet_v3_large")
    network = prepare_network(request, Workspace(tmp_path / "run", SilentProgress()))
    assert network.spec.output_stride == 16 and network.spec.heads[-1] == ("original",)
    assert network.spec.heads[0] == find_preset("smoke").heads


def test_an_unknown_backbone_is_told_before_a_phone_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []
    monkeypatch.setattr("pipeline.deploying.open_local_phone", lambda *phone, **options: opened.append(phone))
    with pytest.raises(InputError, match="unknown backbone 'mobilenet_v9'; did you mean mobilenet_v"):
        run(["deploy", "--target", "pixel7-cpu", "--backbone", "mobilenet_v9", "--run", str(tmp_path / "run")])
    assert not opened
