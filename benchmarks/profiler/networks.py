"""Backbones with random weights, cut into nested prefixes: what the latency benchmarks measure."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from mobile_export.program import Program, TensorSpec

PREFIXES = 6


class Prefix(nn.Module):
    """The first blocks of a backbone: image -> (features,)."""

    def __init__(self, blocks: nn.Sequential) -> None:
        super().__init__()
        self.blocks = blocks

    def forward(self, image: Tensor) -> tuple[Tensor]:
        return (self.blocks(image),)


def _resnet(net: Any) -> list[nn.Module]:
    stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
    return [stem, *net.layer1, *net.layer2, *net.layer3, *net.layer4]


def _regnet(net: Any) -> list[nn.Module]:
    return [net.stem, *(block for stage in net.trunk_output for block in stage)]


def _features(net: Any) -> list[nn.Module]:
    return list(net.features)


def _layers(net: Any) -> list[nn.Module]:
    return [nn.Sequential(*islice(net.layers, 0, 8)), *islice(net.layers, 8, None)]


_MODELS = torchvision.models
BACKBONES: dict[str, tuple[Callable[[], nn.Module], Callable[[nn.Module], list[nn.Module]]]] = {
    "mobilenet_v2": (_MODELS.mobilenet_v2, _features),
    "mobilenet_v2_0.5": (lambda: _MODELS.mobilenet_v2(width_mult=0.5), _features),
    "mobilenet_v2_0.75": (lambda: _MODELS.mobilenet_v2(width_mult=0.75), _features),
    "mobilenet_v2_1.4": (lambda: _MODELS.mobilenet_v2(width_mult=1.4), _features),
    "mobilenet_v3_small": (_MODELS.mobilenet_v3_small, _features),
    "mobilenet_v3_large": (_MODELS.mobilenet_v3_large, _features),
    "mnasnet0_5": (_MODELS.mnasnet0_5, _layers),
    "mnasnet1_0": (_MODELS.mnasnet1_0, _layers),
    "squeezenet1_1": (_MODELS.squeezenet1_1, _features),
    "resnet18": (_MODELS.resnet18, _resnet),
    "regnet_x_400mf": (_MODELS.regnet_x_400mf, _regnet),
    "regnet_y_400mf": (_MODELS.regnet_y_400mf, _regnet),
    "efficientnet_b0": (_MODELS.efficientnet_b0, _features),
}


def prefixes(name: str, size: int) -> Iterator[Program]:
    """Nested prefixes of one backbone at `size` x `size`, shortest first, named prefix_0, prefix_1, ..."""
    torch.manual_seed(0)
    make, blocks_of = BACKBONES[name]
    blocks = blocks_of(make().eval())
    count = min(PREFIXES, len(blocks))
    for index in range(count):
        module = Prefix(nn.Sequential(*blocks[: (index + 1) * len(blocks) // count])).eval()
        with torch.no_grad():
            features = module(torch.zeros(1, 3, size, size))[0]
        yield Program(f"prefix_{index}", module, (TensorSpec("image", (1, 3, size, size)),),
                      (TensorSpec("features", tuple(features.shape)),))
