"""A program that takes RGB bytes as a camera gives them: the cast and the move to planes inside the graph."""

import torch
from torch import Tensor, nn

from device_profiler.errors import InputError
from mobile_export.program import Program, TensorSpec


class BytesIn(nn.Module):
    """RGB bytes uint8 [1, H, W, 3] to what `inner` takes: float32 [1, 3, H, W] in 0..255."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        planes = image.to(torch.float32).permute(0, 3, 1, 2).contiguous()
        outputs: tuple[Tensor, ...] = self.inner(planes)
        return outputs


def image_of(program: Program) -> TensorSpec:
    """The one input of `program`, an image float32 [1, 3, H, W].

    Raises:
        InputError: it takes something else.
    """
    spec = program.inputs[0]
    if len(program.inputs) != 1 or len(spec.shape) != 4 or spec.shape[1] != 3 or spec.dtype != "float32":
        raise InputError(f"program {program.name!r} takes no image float32 [1, 3, H, W]: it can't take RGB bytes")
    return spec


def takes_bytes(program: Program) -> Program:
    """`program`, whose one input is an image float32 [1, 3, H, W], with that image as uint8 [1, H, W, 3] instead.

    Raises:
        InputError: it takes something else.
    """
    spec = image_of(program)
    count, channels, height, width = spec.shape
    image = TensorSpec(spec.name, (count, height, width, channels), "uint8")
    return Program(program.name, BytesIn(program.module).eval(), (image,), program.outputs)
