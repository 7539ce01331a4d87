import json
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from device_profiler.errors import InputError
from pipeline.__main__ import run
from pipeline.backbones import build_backbone, check_size, outline_backbone, place_exits
from pipeline.backbones.catalogue import IMAGENET_MEAN, IMAGENET_STD, open_network
from pipeline.backbones.dilation import dilate
from pipeline.backbones.lite_weights import packaged_weights, weight_path
from pipeline.backbones.normalization import Normalize
from pipeline.backbones.padding import make_padding_static
from pipeline.backbones.weights import read_weights
from pipeline.model import build_model, design_model
from pipeline.policy import enlarge
from tests.provocations.backbones import take_offline

VOC = 21


def _image(*size: int) -> torch.Tensor:
    return torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(1)) * 255


def test_imagenet_weights_give_the_reference_implementations_logits() -> None:
    reference = pytest.importorskip("efficientnet_lite_pytorch")
    path = str(weight_path("efficientnet_lite0"))
    theirs = reference.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    ours = timm.create_model("tf_efficientnet_lite0")
    ours.load_state_dict(packaged_weights("efficientnet_lite0", ours))
    image = (_image(224, 224) - 127) / 128
    with torch.no_grad():
        expected = theirs(image)
        assert expected.abs().max() > 1
        torch.testing.assert_close(ours.eval()(image), expected, atol=1e-4, rtol=0)


def test_units_normalise_pixels_and_pad_as_the_whole_network_does() -> None:
    whole = timm.create_model("tf_efficientnet_lite0").eval()
    whole.load_state_dict(packaged_weights("efficientnet_lite0", whole))
    image = _image(96, 64)
    features = image
    with torch.no_grad():
        for unit in build_backbone("efficientnet_lite0", 32, weights=True).units:
            features = unit.eval()(features)
        expected = whole.blocks(whole.bn1(whole.conv_stem((image - 127) / 128)))
    torch.testing.assert_close(features, expected)


def test_batch_norm_momentum_suits_short_runs() -> None:
    units = build_backbone("efficientnet_lite0", 16).units
    norms = [m for unit in units for m in unit.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(norms) == 48 and {norm.momentum for norm in norms} == {0.1}


def test_work_is_counted_as_published_for_the_backbone() -> None:
    # EfficientNet-Lite0 is published at 407 M multiply-adds at 224x224; the layers after the last unit are left out.
    last_layers = 320 * 1280 * 7 * 7 + 1280 * 1000
    units = outline_backbone("efficientnet_lite0", 32, (224, 224)).units
    assert sum(units) + last_layers == pytest.approx(407e6, rel=0.06)


def batch_norm_elements(name: str) -> int:
    """Elements of what every BatchNorm of a network gives, at 512x512 and output stride 8."""
    with torch.device("meta"):
        backbone, image = build_backbone(name, 8, classes=VOC), torch.zeros(1, 3, 512, 512)
    whole = nn.Sequential(*backbone.units, backbone.head or nn.Identity()).eval()
    found: list[int] = []
    for module in whole.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(lambda module, given, answer: found.append(answer.numel()))
    whole(image)
    return sum(found)


@pytest.mark.parametrize(
    ("name", "work", "of_batch_norm"),
    [("fcn_resnet50", 138.63e9, 2), ("deeplabv3_resnet50", 163.86e9, 2), ("mobilenet_v2", 7.67e9, 0)],
)
def test_the_papers_networks_cost_what_the_paper_says(name: str, work: float, of_batch_norm: int) -> None:
    """Without the auxiliary head, at 512x512. The ResNets' figures count BatchNorm, two for each of its elements.

    Deployed it is folded into the convolutions, so it is not counted here; nor is it in MobileNetV2's figure.
    """
    outline = outline_backbone(name, 8, (512, 512), VOC)
    counted = sum(outline.units) + outline.head + of_batch_norm * batch_norm_elements(name)
    assert counted == pytest.approx(work, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "units"), [("resnet50", (8, 12, 13, 14, 15, 16)), ("mobilenet_v2", (10, 13, 14, 15, 16, 17))]
)
def test_exits_of_the_papers_backbones_lie_where_the_paper_has_them(name: str, units: tuple[int, ...]) -> None:
    """ResNet50: layer3.0, 3.4, 3.5, 4.0, 4.1, 4.2 behind a stem and 7 blocks; MobileNetV2: features 10, 13 to 17."""
    assert place_exits(outline_backbone(name, 8, (512, 512)).units, 6) == units


def test_dilation_moves_work_to_the_deep_units() -> None:
    light, dilated = (outline_backbone("efficientnet_lite0", stride, (64, 64)).units for stride in (32, 16))
    assert light[:12] == dilated[:12]
    assert dilated[-1] == 4 * light[-1]


@pytest.mark.parametrize("stride", [8, 16])
def test_tensorflows_padding_is_dilated_as_timm_does_it(stride: int) -> None:
    theirs = timm.create_model("tf_efficientnet_lite0", output_stride=stride).eval()
    ours = timm.create_model("tf_efficientnet_lite0").eval()
    ours.load_state_dict(theirs.state_dict())
    make_padding_static(ours)
    dilate(ours, stride, "ours")
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = ours.forward_features(image)
        assert features.shape[2:] == (64 // stride, 96 // stride)
        torch.testing.assert_close(features, theirs.forward_features(image))


@pytest.mark.parametrize("stride", [8, 16, 32])
@pytest.mark.parametrize("name", ["resnet26d", "resnetv2_50d"])
def test_pooling_shortcuts_are_dilated_as_timm_does_it(name: str, stride: int) -> None:
    theirs = timm.create_model(name, output_stride=stride).eval()
    network = open_network(f"timm/{name}", stride, 2)
    assert list(network.module.state_dict()) == list(theirs.state_dict())
    network.module.load_state_dict(theirs.state_dict())
    image = torch.rand(1, 3, 96, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(network.module.forward_features(image), theirs.forward_features(image))
    poolings = [module for module in network.module.modules() if isinstance(module, nn.AvgPool2d)]
    assert poolings and not any(pooling.ceil_mode for pooling in poolings)  # XNNPACK takes none that has it


def test_strides_become_dilations_as_in_torchvisions_own_resnet() -> None:
    theirs = torchvision.models.resnet50(replace_stride_with_dilation=[False, True, True])
    network = open_network("resnet50", 8, 2)
    layers = [
        {name: (m.stride, m.dilation, m.padding) for name, m in module.named_modules() if isinstance(m, nn.Conv2d)}
        for module in (network.module, theirs)
    ]
    assert layers[0] == layers[1]


@pytest.mark.parametrize(
    "name",
    [
        *("mobilenet_v2", "timm/resnet18", "mobilenetv4_conv_small", "timm/tf_mobilenetv3_small_075", "regnet_y_400mf"),
        "timm/lcnet_050",
    ],
)
def test_a_backbone_gives_features_at_the_output_stride_and_trains_by_unit(name: str) -> None:
    for stride in (16, 32):
        units = build_backbone(name, stride).units
        features = _image(64, 96)
        for unit in units[:-1]:
            features = unit.eval()(features)
        assert units[-1].eval()(features).shape[2:] == (64 // stride, 96 // stride)
    norms = [module for module in units[-1].train().modules() if isinstance(module, nn.BatchNorm2d)]
    before = [norm.running_mean.clone() for norm in norms]
    units[-1](torch.cat([features, features + 1]))
    assert norms and all(not torch.equal(norm.running_mean, old) for norm, old in zip(norms, before, strict=True))


def test_a_chain_without_blocks_is_cut_before_its_convolutions() -> None:
    units = build_backbone("vgg11", 32).units
    assert [sum(isinstance(part, nn.Conv2d) for part in unit.modules()) for unit in units] == [1] * 8


RESNETS = ["fcn_resnet50", "fcn_resnet101", "deeplabv3_resnet50", "deeplabv3_resnet101"]


@pytest.mark.parametrize(
    "name",
    ["deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"]
    + [pytest.param(name, marks=pytest.mark.slow) for name in RESNETS],
)
def test_the_last_exit_of_a_converted_network_is_the_original_bit_for_bit(name: str, tmp_path: Path) -> None:
    _check_last_exit(name, tmp_path)


@pytest.mark.parametrize(
    "name", ["deeplabv3_mobilenet_v3_large", pytest.param("fcn_resnet50", marks=pytest.mark.slow)]
)
def test_a_file_with_an_auxiliary_head_as_torchvision_publishes_them_is_taken(name: str, tmp_path: Path) -> None:
    _check_last_exit(name, tmp_path, aux_loss=True)
    assert any(key.startswith("aux_classifier.") for key in read_weights(tmp_path / "weights.pth"))


def _check_last_exit(name: str, folder: Path, **options: bool) -> None:
    """Of torchvision's network, saved in a file and built from it: its last exit is the original's, bit for bit."""
    torch.manual_seed(5)
    plain = {"weights": None, "weights_backbone": None, "num_classes": VOC}
    original = torchvision.models.get_model(name, **plain, **options).eval()
    for norm in (module for module in original.modules() if isinstance(module, nn.BatchNorm2d)):
        nn.init.uniform_(norm.running_mean, -0.1, 0.1)
    torch.save(original.state_dict(), folder / "weights.pth")
    stride = 16 if "mobilenet" in name else 8
    classes = tuple(f"c{index}" for index in range(VOC))
    spec = design_model(classes, (64, 96), backbone=name, output_stride=stride, exits=3, heads=("fcn-r4",))
    model = build_model(spec, weights=folder / "weights.pth")
    image = _image(64, 96)
    normalised = Normalize([255 * v for v in IMAGENET_MEAN], [255 * v for v in IMAGENET_STD])(image)
    with torch.no_grad():
        expected = original(normalised)["out"]
        logits = model(image)[-1][0]
    assert spec.reference_head == "original"
    assert torch.equal(enlarge(logits, (64, 96)), expected)


def test_a_users_network_is_found_by_import_path_and_cut_at_its_blocks() -> None:
    from user_networks import Plain

    torch.manual_seed(0)
    backbone = build_backbone("user_networks:Plain", 32)
    torch.manual_seed(0)
    image = _image(64, 64)
    features = image
    with torch.no_grad():
        for unit in backbone.units:
            features = unit(features)
        expected = Plain().eval()((image / 255 - 0.5) / 0.25)
    assert len(backbone.units) == 6
    torch.testing.assert_close(features, expected)
    dilated = build_backbone("user_networks:Plain", 8)
    assert dilated.units[-1].conv.dilation == (4, 4) and dilated.units[-1].conv.stride == (1, 1)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet5000", r"unknown backbone 'resnet5000'; did you mean .*resnet50"),
        ("user_networks:Decides", r"after node 'gt', in 'inner\.1', .*user_networks\.py:\d+"),
        ("user_networks:Shared", "calls again more than once"),
        ("user_networks:no_module", "gives a str; a backbone factory returns a torch.nn.Module"),
        ("user_networks:absent", "no attribute 'absent'"),
        ("no_such_package:thing", "No module named 'no_such_package'"),
    ],
)
def test_a_backbone_that_can_not_be_used_is_refused_with_its_reason(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_backbone(name, 32)


def test_weights_for_other_classes_are_refused_with_both_numbers(tmp_path: Path) -> None:
    network = torchvision.models.get_model("lraspp_mobilenet_v3_large", weights=None, weights_backbone=None)
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    with pytest.raises(InputError, match="is for 21 classes, the data has 11"):
        build_backbone("lraspp_mobilenet_v3_large", 16, classes=11, weights=tmp_path / "weights.safetensors")


@pytest.mark.parametrize(("content", "message"), [(b"no weights", "can't be read as weights"), (None, "no weights at")])
def test_unreadable_weights_are_named(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        build_backbone("mobilenet_v2", 16, weights=path)


def test_weights_of_another_network_are_refused_by_tensor(tmp_path: Path) -> None:
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "weights.pth")
    with pytest.raises(InputError, match="does not fit mobilenet_v2: features"):
        build_backbone("mobilenet_v2", 16, weights=tmp_path / "weights.pth")


@pytest.mark.usefixtures("own_cache")
def test_without_a_network_the_advice_to_start_from_random_weights_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    take_offline(tmp_path, monkeypatch)
    words = ["train", "--backbone", "mobilenet_v3_small", "--preset", str(_one_step(tmp_path)), "--size", "32x32"]
    words += ["--run", str(tmp_path / "run"), "--json"]
    with pytest.raises(InputError, match=r"can't be downloaded.* --weights none to start from random ones"):
        run(words)
    run([*words, "--weights", "none"])
    first = json.loads(capsys.readouterr().out)
    assert not first["reused"]
    (tmp_path / "config.toml").write_text('weights = "none"')
    run([*words, "--config", str(tmp_path / "config.toml")])
    again = json.loads(capsys.readouterr().out)
    assert again["reused"] and again["weights_sha256"] == first["weights_sha256"]
    with pytest.raises(InputError, match="can't be downloaded"):
        run(words)


def _one_step(folder: Path) -> Path:
    """A preset of the least training."""
    stages = "".join(f"[training.{stage}]\nsteps = 1\n" for stage in ("exit_dropout", "distillation"))
    (folder / "preset.toml").write_text(f'base = "smoke"\ndata = "shapes"\n{stages}')
    return folder / "preset.toml"


@pytest.mark.parametrize(
    ("macs", "count", "expected"),
    [((1,) * 6, 3, (1, 3, 5)), ((10, 1, 1), 3, (0, 1, 2)), ((1, 1, 10), 3, (0, 1, 2)), ((4, 2, 2), 2, (0, 2))],
)
def test_exits_lie_nearest_to_equal_shares(macs: tuple[int, ...], count: int, expected: tuple[int, ...]) -> None:
    assert place_exits(macs, count) == expected


def test_more_exits_than_units_are_refused() -> None:
    with pytest.raises(InputError, match="18 exits asked for; this backbone offers 1 to 17"):
        place_exits((1,) * 17, 18)


@pytest.mark.parametrize(("size", "nearest"), [((250, 256), "256x256"), ((16, 16), "32x32")])
def test_a_size_that_the_strides_do_not_divide_is_refused_with_the_nearest(size: tuple[int, int], nearest: str) -> None:
    with pytest.raises(InputError, match=f"{size[0]}x{size[1]}.*{nearest}"):
        check_size(size)


def test_an_output_stride_that_is_not_offered_is_refused() -> None:
    with pytest.raises(InputError, match="output stride 4 is not offered; choose one of 8, 16, 32"):
        build_backbone("mobilenet_v2", 4)
    with pytest.raises(InputError, match="made for output stride 8, not 16"):
        build_backbone("fcn_resnet50", 16)


@pytest.mark.parametrize(
    ("name", "stride", "message"),
    [
        ("alexnet", 32, "strides past output stride 32 and can't be dilated; choose another backbone$"),
        ("timm/nasnetalarge", 8, "in multiples of 32"),
        ("timm/resnetblur18", 16, "convolutions alone shrink its maps: choose another one, or output_stride = 32"),
        ("timm/dm_nfnet_f0", 16, "conv2 can't be dilated to output stride 16; .* or a larger output_stride"),
    ],
)
def test_a_network_that_can_not_be_dilated_is_refused_in_one_line(name: str, stride: int, message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        outline_backbone(name, stride, (64, 64))
    assert "\n" not in str(refused.value)
