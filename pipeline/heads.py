"""Segmentation heads, declared as data (kind and channel reduction) and built for an exit's channels."""

import re
from collections.abc import Callable, Mapping

import msgspec
from torch import Tensor, nn

from device_profiler.errors import InputError

LRASPP_CHANNELS = 128
MIN_CHANNELS = 8


class HeadArchitecture(msgspec.Struct, frozen=True):
    """One value of the head space: `kind`, with its channels divided by `reduction`.

    FCN heads are reduced by a 1x1 convolution in front. LR-ASPP begins with a 1x1 convolution, so its width is divided.
    """

    kind: str
    reduction: int = 1

    @property
    def name(self) -> str:
        """As it stands in files and on the command line, for example "fcn-r4"."""
        return f"{self.kind}-r{self.reduction}"


def parse_head(name: str) -> HeadArchitecture:
    """The architecture called `name`, for example "lraspp-r2".

    Raises:
        InputError: unknown kind, or no reduction of at least 1.
    """
    match = re.fullmatch(r"(\w+)-r([1-9]\d*)", name)
    if match is None or match[1] not in HEAD_KINDS:
        kinds = ", ".join(HEAD_KINDS)
        raise InputError(f"unknown head {name!r}; a head is <kind>-r<reduction> (1, 2, ...) with a kind of: {kinds}")
    return HeadArchitecture(match[1], int(match[2]))


def build_head(architecture: HeadArchitecture, channels: int, classes: int) -> nn.Module:
    """A head that maps features [N, channels, h, w] to logits [N, classes, h, w]."""
    return nn.Sequential(*HEAD_KINDS[architecture.kind](channels, classes, architecture.reduction))


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


def _fcn_layers(channels: int, classes: int, reduction: int) -> list[nn.Module]:
    """torchvision's FCN head: 3x3 convolution to a quarter of the channels, BatchNorm, ReLU, dropout, classifier."""
    reduced = max(MIN_CHANNELS, channels // reduction)
    inner = max(MIN_CHANNELS, reduced // 4)
    first = [_conv_norm_relu(channels, reduced, kernel=1)] if reduction > 1 else []
    return [*first, _conv_norm_relu(reduced, inner, kernel=3), nn.Dropout(0.1), nn.Conv2d(inner, classes, 1)]


def _lraspp_layers(channels: int, classes: int, reduction: int) -> list[nn.Module]:
    width = max(MIN_CHANNELS, LRASPP_CHANNELS // reduction)
    return [GatedProjection(channels, width), nn.Dropout(0.1), nn.Conv2d(width, classes, 1)]


def _conv_norm_relu(channels: int, width: int, kernel: int) -> nn.Sequential:
    convolution = nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU())


HEAD_KINDS: Mapping[str, Callable[[int, int, int], list[nn.Module]]] = {"fcn": _fcn_layers, "lraspp": _lraspp_layers}
