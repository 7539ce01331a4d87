"""How a head of the space is built for an exit."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from pipeline.backbones.style import BlockStyle
from pipeline.head_space import PAPER_KINDS, HeadArchitecture

LRASPP_CHANNELS = 128
ASPP_CHANNELS = 256
SEPARABLE_ASPP_CHANNELS = 128
ASPP_REACH = (96, 192, 288)
"""Dilation of the ASPP branches in pixels of the image: rates 12, 24 and 36 at output stride 8 (DeepLabV3)."""
MIN_CHANNELS = 8
EXPANSION = 6


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
