"""A program that takes a camera's frame, larger than the network by whole multiples: resized inside the graph."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from mobile_export.camera_input import image_of
from mobile_export.frame_size import Size, whole_multiples
from mobile_export.program import Program, TensorSpec


class TriangleFilter(nn.Module):
    """Planes of bytes as float32 [1, 3, kh*H, kw*W] to [1, 3, H, W] by the triangle filter, rounded as bytes are.

    Pillow's BILINEAR, widened as always when shrinking: one strided convolution a channel; taps beyond the border
    don't count. Pillow rounds after the rows and again after the columns, so it may lie one level off. Taps are whole
    numbers: sums are exact (kh * kw up to 128), and every processor hands the network the same bytes.
    """

    taps: Tensor
    total: Tensor

    def __init__(self, size: Size, multiples: tuple[int, int]) -> None:
        super().__init__()
        column, row = (_taps(times) for times in multiples)
        self.stride = multiples
        self.padding = (len(column) - multiples[0]) // 2, (len(row) - multiples[1]) // 2
        self.register_buffer("taps", torch.outer(column, row).repeat(3, 1, 1, 1))
        frame = torch.ones(1, 1, size[0] * multiples[0], size[1] * multiples[1])
        self.register_buffer("total", functional.conv2d(frame, self.taps[:1], None, self.stride, self.padding))

    def exact(self, frame: Tensor) -> Tensor:
        """The filter before rounding."""
        return functional.conv2d(frame, self.taps, None, self.stride, self.padding, groups=3) / self.total

    def forward(self, frame: Tensor) -> Tensor:
        return torch.floor(self.exact(frame) + 0.5)


def _taps(times: int) -> Tensor:
    """The triangle about an output pixel's centre, falling to zero `times` pixels away: 1 3 3 1 for 2, 1 2 3 2 1 for 3.

    The centre lies between two pixels where `times` is even, on one where it is odd.
    """
    rising = torch.arange(1.0, 2 * times, 2) if times % 2 == 0 else torch.arange(1.0, times + 1)
    return torch.cat([rising, rising.flip(0)[times % 2 :]])


class FrameIn(nn.Module):
    """A frame, float32 [1, 3, kh*H, kw*W] in 0..255, to what `inner` makes of it at [1, 3, H, W]."""

    def __init__(self, inner: nn.Module, shrink: TriangleFilter) -> None:
        super().__init__()
        self.inner, self.shrink = inner, shrink

    def forward(self, frame: Tensor) -> tuple[Tensor, ...]:
        outputs: tuple[Tensor, ...] = self.inner(self.shrink(frame))
        return outputs


def takes_frames(program: Program, frame: Size) -> Program:
    """`program`, whose one input is an image float32 [1, 3, H, W], with a frame of another (height, width) instead.

    Outputs stay as they are: labels come at the network's size.

    Raises:
        InputError: it takes something else, or the frame's sides are no whole multiples of the image's.
    """
    spec = image_of(program)
    size = spec.shape[2], spec.shape[3]
    module = FrameIn(program.module, TriangleFilter(size, whole_multiples(frame, size))).eval()
    return Program(program.name, module, (TensorSpec(spec.name, (*spec.shape[:2], *frame)),), program.outputs)
