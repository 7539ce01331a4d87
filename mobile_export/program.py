"""What an exporter takes in: a torch module with fixed shapes and named tensors."""

from dataclasses import dataclass

import torch
from torch import nn

from mobile_export.tensors import TensorSpec

__all__ = ["Program", "TensorSpec"]


@dataclass(frozen=True)
class Program:
    """One entry point to export: `module` in eval mode maps `inputs` to a tuple of `outputs`, no control flow.

    Several programs exported into one file share their weights (an ExecuTorch method or a LiteRT signature each).
    `float_layers`: paths in `module` of convolutions and linear layers that int8 leaves in floating point.
    """

    name: str
    module: nn.Module
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    float_layers: tuple[str, ...] = ()

    def example_inputs(self) -> tuple[torch.Tensor, ...]:
        """Zero tensors of the declared shapes, for tracing."""
        return tuple(torch.zeros(spec.shape, dtype=getattr(torch, spec.dtype)) for spec in self.inputs)
