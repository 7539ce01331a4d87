"""What a backbone's residual blocks are like, so that heads can add blocks of the same kind."""

from collections.abc import Sequence
from typing import Literal

from torch import nn

BlockStyle = Literal["inverted", "bottleneck"]
"""`inverted`: expand, depthwise, project (mobile networks); `bottleneck`: reduce, 3x3, expand (ResNets)."""


def style_of(units: Sequence[nn.Module]) -> BlockStyle:
    """The kind of the deepest unit that has one: inverted where it holds a depthwise convolution."""
    for unit in reversed(units):
        convolutions = [part for part in unit.modules() if isinstance(part, nn.Conv2d)]
        if len(convolutions) > 1:
            depthwise = any(part.groups == part.in_channels > 1 for part in convolutions)
            return "inverted" if depthwise else "bottleneck"
    return "bottleneck"
