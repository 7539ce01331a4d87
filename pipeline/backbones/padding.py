"""TensorFlow's padding without shape arithmetic, so that exported graphs hold none."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.backbones.work import Size


class SameConv2d(nn.Conv2d):
    """A strided convolution padded as TensorFlow does, for inputs that the stride divides.

    The padding then depends on kernel and stride alone (more on the far side), so an exported graph holds no shape
    arithmetic; timm computes it from the input at every call.
    """

    def __init__(self, like: nn.Conv2d) -> None:
        kernel, stride = like.kernel_size, like.stride
        channels = (like.in_channels, like.out_channels)
        super().__init__(*channels, cast(Size, kernel), cast(Size, stride), groups=like.groups, bias=False)
        self.weight, self.bias = like.weight, like.bias
        self.pad = self._padding()

    def dilate(self, stride: Size, dilation: Size) -> None:
        """Take another stride and dilation, padded as TensorFlow pads for those."""
        self.stride, self.dilation = stride, dilation
        self.pad = self._padding()

    def _padding(self) -> nn.ZeroPad2d:
        spans = ((k - 1) * d + 1 for k, d in zip(self.kernel_size, self.dilation, strict=True))
        rows, columns = (max(span - s, 0) for span, s in zip(spans, self.stride, strict=True))
        return nn.ZeroPad2d((columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(self.pad(input))


class SameAverage(nn.Module):
    """timm's AvgPool2dSame(2, 1): means of 2x2 positions, one at each; zeros that count stand behind the far sides.

    A convolution, for XNNPACK does not load a padded pooling in int8; its weights are no part of the network's.
    """

    weight: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.full((channels, 1, 2, 2), 0.25), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        padded = functional.pad(features, (0, 1, 0, 1))
        return functional.conv2d(padded, self.weight, groups=len(self.weight))


def make_padding_static(module: nn.Module) -> None:
    """Replace every timm `Conv2dSame` inside `module` by one whose padding is fixed."""
    for name, child in module.named_children():
        if type(child).__name__ == "Conv2dSame":
            setattr(module, name, SameConv2d(cast(nn.Conv2d, child)))
        else:
            make_padding_static(child)


def replace_module(network: nn.Module, path: str, by: nn.Module) -> None:
    """Put `by` where `network` has the module at `path`."""
    parent, _, name = path.rpartition(".")
    setattr(network.get_submodule(parent), name, by)
