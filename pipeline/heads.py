"""The space of segmentation heads, declared as data, and how a head of it is built for an exit."""

import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence

import msgspec
import torch
from torch import Tensor, nn

from device_profiler.errors import InputError
from pipeline.backbones.style import BlockStyle

LRASPP_CHANNELS = 128
ASPP_CHANNELS = 256
SEPARABLE_ASPP_CHANNELS = 128
ASPP_REACH = (96, 192, 288)
"""Dilation of the ASPP branches in pixels of the image: rates 12, 24 and 36 at output stride 8 (DeepLabV3)."""
MIN_CHANNELS = 8
EXPANSION = 6
ORIGINAL = "original"
"""Name of the head that a converted segmentation network came with; it is no value of the space."""

REDUCTIONS = (1, 2, 4, 8)
EXTRA_BLOCKS = (0, 1, 2, 3)
PAPER_KINDS = ("fcn", "deeplab")
MOBILE_KINDS = ("lraspp", "dsaspp")


class HeadArchitecture(msgspec.Struct, frozen=True):
    """One value of the head space (MESS, arXiv 2106.03527): `kind`, with its channels divided by `reduction`.

    `blocks` residual blocks of the backbone's kind stand in front; with `rapid`, their dilation doubles from block to
    block (2, 4, 8). FCN and DeepLab heads are reduced by a 1x1 convolution in front. LR-ASPP and the
    depthwise-separable ASPP begin with convolutions of their own, so their width is divided (and, in front of blocks,
    the features too).
    """

    kind: str
    reduction: int = 1
    blocks: int = 0
    rapid: bool = False

    @property
    def name(self) -> str:
        """As in files and on the command line: "fcn-r4", with blocks "fcn-r4-b2", rapidly dilated "fcn-r4-b2d"."""
        blocks = f"-b{self.blocks}{'d' if self.rapid else ''}" if self.blocks else ""
        return f"{self.kind}-r{self.reduction}{blocks}"


def _space(kinds: Sequence[str]) -> tuple[HeadArchitecture, ...]:
    """Every distinct combination: rapid dilation has no effect without blocks."""
    return tuple(
        HeadArchitecture(kind, reduction, blocks, rapid)
        for kind in kinds
        for reduction in REDUCTIONS
        for blocks in EXTRA_BLOCKS
        for rapid in ((False, True) if blocks else (False,))
    )


HEAD_SETS: Mapping[str, tuple[HeadArchitecture, ...]] = {
    "paper": _space(PAPER_KINDS),
    "mobile": _space(MOBILE_KINDS),
    "all": _space((*PAPER_KINDS, *MOBILE_KINDS)),
}


def select_heads(patterns: Sequence[str]) -> tuple[str, ...]:
    """Names of the heads that any of `patterns` means, in the order of the patterns, each once.

    A pattern is a set (`paper`: 56 heads, `mobile`, `all`), a head's name, or a wildcard over the space (`fcn-r*`,
    `lraspp-r[12]`).

    Raises:
        InputError: a pattern that means no head.
    """
    found: dict[str, None] = {}
    for pattern in patterns:
        if pattern in HEAD_SETS:
            meant = [head.name for head in HEAD_SETS[pattern]]
        elif any(sign in pattern for sign in "*?["):
            meant = fnmatch.filter([head.name for head in HEAD_SETS["all"]], pattern)
        else:
            meant = [parse_head(pattern).name]
        if not meant:
            raise InputError(f"no head is called {pattern!r}; {_SYNTAX}")
        found |= dict.fromkeys(meant)
    if not found:
        raise InputError(f"no head is asked for; {_SYNTAX}")
    return tuple(found)


def parse_head(name: str) -> HeadArchitecture:
    """The architecture called `name`, for example "lraspp-r2".

    Raises:
        InputError: unknown kind, or no reduction of at least 1.
    """
    match = re.fullmatch(r"(\w+)-r([1-9]\d*)(?:-b([1-9]\d*)(d?))?", name)
    if match is None or match[1] not in HEAD_KINDS:
        raise InputError(f"unknown head {name!r}; {_SYNTAX}")
    return HeadArchitecture(match[1], int(match[2]), int(match[3] or 0), match[4] == "d")


def build_head(
    architecture: HeadArchitecture, channels: int, classes: int, *, stride: int = 16, style: BlockStyle = "inverted"
) -> nn.Module:
    """A head that maps features [N, channels, h, w] to logits [N, classes, h, w].

    `stride`: pixels of the image that a position of the features stands for; `style`: what the backbone's blocks are.
    """
    front: list[nn.Module] = []
    if architecture.reduction > 1 and (architecture.blocks or architecture.kind in PAPER_KINDS):
        reduced = max(MIN_CHANNELS, channels // architecture.reduction)
        front, channels = [_conv_norm_relu(channels, reduced, kernel=1)], reduced
    for position in range(architecture.blocks):
        front.append(_BLOCKS[style](channels, 2 ** (position + 1) if architecture.rapid else 1))
    return nn.Sequential(*front, *HEAD_KINDS[architecture.kind](channels, classes, architecture.reduction, stride))


class GatedProjection(nn.Module):
    """LR-ASPP without its low-level branch: 1x1 convolution, gated by what the whole image holds.

    Howard et al., "Searching for MobileNetV3" (arXiv 1905.02244), section 6.4; the pool is global here so that the
    graph is the same for every input size.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.project = _conv_norm_relu(channels, width, kernel=1)
        self.gate = nn.Conv2d(channels, width, 1, bias=False)
        self.squash = nn.Sigmoid()

    def forward(self, features: Tensor) -> Tensor:
        gate: Tensor = self.squash(self.gate(features.mean((2, 3), keepdim=True)))
        projected: Tensor = self.project(features)
        return gate * projected


class AtrousPyramid(nn.Module):
    """ASPP of DeepLabV3 (arXiv 1706.05587): 1x1 and dilated 3x3 branches and the image's mean, projected together.

    The mean is projected before it is spread over the map and added, which equals projecting the concatenation.
    """

    def __init__(self, channels: int, width: int, rates: Sequence[int], *, separable: bool, dropout: float) -> None:
        super().__init__()
        wide = _separable if separable else _conv_norm_relu
        self.branches = nn.ModuleList([_conv_norm_relu(channels, width, kernel=1)])
        self.branches.extend(wide(channels, width, kernel=3, dilation=rate) for rate in rates)
        self.pooled = nn.Sequential(nn.Conv2d(channels, width, 1), nn.ReLU())
        self.project = nn.Conv2d(width * (1 + len(rates)), width, 1, bias=False)
        self.project_pooled = nn.Conv2d(width, width, 1, bias=False)
        self.after = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout(dropout))

    def forward(self, features: Tensor) -> Tensor:
        maps = torch.cat([branch(features) for branch in self.branches], dim=1)
        mean = self.project_pooled(self.pooled(features.mean((2, 3), keepdim=True)))
        joined: Tensor = self.after(self.project(maps) + mean)
        return joined


class InvertedResidual(nn.Module):
    """Expand, depthwise 3x3, project, added to the input: MobileNetV2's block (arXiv 1801.04381)."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        hidden = EXPANSION * channels
        self.layers = nn.Sequential(
            *_conv_norm(channels, hidden, 1),
            nn.ReLU6(),
            *_conv_norm(hidden, hidden, 3, dilation, groups=hidden),
            nn.ReLU6(),
            *_conv_norm(hidden, channels, 1),
        )

    def forward(self, features: Tensor) -> Tensor:
        added: Tensor = features + self.layers(features)
        return added


class Bottleneck(nn.Module):
    """Reduce to a quarter, 3x3, expand, added to the input: ResNet's block (arXiv 1512.03385)."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        hidden = max(MIN_CHANNELS, channels // 4)
        self.layers = nn.Sequential(
            *_conv_norm(channels, hidden, 1),
            nn.ReLU(),
            *_conv_norm(hidden, hidden, 3, dilation),
            nn.ReLU(),
            *_conv_norm(hidden, channels, 1),
        )
        self.rectify = nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        rectified: Tensor = self.rectify(features + self.layers(features))
        return rectified


_BLOCKS: Mapping[BlockStyle, Callable[[int, int], nn.Module]] = {
    "inverted": InvertedResidual,
    "bottleneck": Bottleneck,
}


def _fcn_layers(channels: int, classes: int, reduction: int, stride: int) -> list[nn.Module]:
    """torchvision's FCN head: 3x3 convolution to a quarter of the channels, BatchNorm, ReLU, dropout, classifier."""
    inner = max(MIN_CHANNELS, channels // 4)
    return [_conv_norm_relu(channels, inner, kernel=3), nn.Dropout(0.1), nn.Conv2d(inner, classes, 1)]


def _deeplab_layers(channels: int, classes: int, reduction: int, stride: int) -> list[nn.Module]:
    """torchvision's DeepLab head; the rates reach equally far in the image at every output stride."""
    pyramid = AtrousPyramid(channels, ASPP_CHANNELS, _rates(stride), separable=False, dropout=0.5)
    return [pyramid, _conv_norm_relu(ASPP_CHANNELS, ASPP_CHANNELS, kernel=3), nn.Conv2d(ASPP_CHANNELS, classes, 1)]


def _lraspp_layers(channels: int, classes: int, reduction: int, stride: int) -> list[nn.Module]:
    width = max(MIN_CHANNELS, LRASPP_CHANNELS // reduction)
    return [GatedProjection(channels, width), nn.Dropout(0.1), nn.Conv2d(width, classes, 1)]


def _separable_aspp_layers(channels: int, classes: int, reduction: int, stride: int) -> list[nn.Module]:
    """ASPP whose 3x3 convolutions are depthwise and pointwise, as in DeepLabV3+ (arXiv 1802.02611)."""
    width = max(MIN_CHANNELS, SEPARABLE_ASPP_CHANNELS // reduction)
    pyramid = AtrousPyramid(channels, width, _rates(stride), separable=True, dropout=0.1)
    return [pyramid, _separable(width, width, kernel=3), nn.Conv2d(width, classes, 1)]


def _rates(stride: int) -> tuple[int, ...]:
    return tuple(max(1, reach // stride) for reach in ASPP_REACH)


def _conv_norm(channels: int, width: int, kernel: int, dilation: int = 1, groups: int = 1) -> list[nn.Module]:
    padding = dilation * (kernel // 2)
    convolution = nn.Conv2d(channels, width, kernel, padding=padding, dilation=dilation, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(width)]


def _conv_norm_relu(channels: int, width: int, kernel: int, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(*_conv_norm(channels, width, kernel, dilation), nn.ReLU())


def _separable(channels: int, width: int, kernel: int, dilation: int = 1) -> nn.Sequential:
    depthwise = _conv_norm(channels, channels, kernel, dilation, groups=channels)
    return nn.Sequential(*depthwise, nn.ReLU(), *_conv_norm(channels, width, 1), nn.ReLU())


HEAD_KINDS: Mapping[str, Callable[[int, int, int, int], list[nn.Module]]] = {
    "fcn": _fcn_layers,
    "deeplab": _deeplab_layers,
    "lraspp": _lraspp_layers,
    "dsaspp": _separable_aspp_layers,
}

_SYNTAX = (
    "a head is <kind>-r<reduction>[-b<blocks>[d]], such as fcn-r4 or lraspp-r2-b1d, with a kind of: "
    f"{', '.join(HEAD_KINDS)}; sets of heads are {', '.join(HEAD_SETS)}"
)
