"""How much each layer of a program suffers from int8 by itself: the program computed with some layers in 8 bits.

One layer at a time, as in Wu et al., "Integer Quantization for Deep Learning Inference" (arXiv 2004.09602), section
5.1. The 8 bits are those of XNNPACK's quantizer (weights per channel, values by their least and largest), computed in
float: LiteRT and Core ML store convolutions alike.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torchao.quantization.pt2e.quantize_pt2e import prepare_pt2e

from device_profiler.workload import Array
from mobile_export.canonical import canonical
from mobile_export.canonical_int8 import INT8_REWRITES
from mobile_export.executorch_xnnpack import int8_quantizer
from mobile_export.float_layers import WITH_WEIGHTS, layer_of
from mobile_export.program import Program

OTHER = ""
"""Stands for every operator without weights: additions, products, pools."""


class _Stored(nn.Module):
    """A tensor as 8 bits hold it where `on`, else as it is; in place of the observer that saw its values."""

    scale: Tensor
    zero_point: Tensor

    def __init__(self, observer: Any) -> None:
        super().__init__()
        scale, zero_point = observer.calculate_qparams()
        self.register_buffer("scale", scale.float())
        self.register_buffer("zero_point", zero_point.to(torch.int32))
        self.limits = int(observer.quant_min), int(observer.quant_max)
        self.axis = observer.ch_axis if scale.numel() > 1 else None
        self.on = False

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        if not self.on:
            return x
        if self.axis is None:
            return torch.fake_quantize_per_tensor_affine(x, self.scale, self.zero_point, *self.limits)
        return torch.fake_quantize_per_channel_affine(x, self.scale, self.zero_point, self.axis, *self.limits)


class SimulatedInt8:
    """A program whose layers are in 8 bits or in float, as asked for; `layers` are their paths in its module.

    Raises InputError as `canonical` does.
    """

    def __init__(self, program: Program, samples: Sequence[tuple[Array, ...]]) -> None:
        """`samples`: real inputs, whose ranges decide how values are stored."""
        graph_module = canonical(program, INT8_REWRITES)
        exported = torch.export.export(graph_module, program.example_inputs(), strict=False).module(check_guards=False)
        prepared = prepare_pt2e(exported, int8_quantizer(program))
        with torch.no_grad():
            for sample in samples:
                prepared(*[torch.from_numpy(array) for array in sample])
        self._module = prepared
        self._stored = {node: _owners(node) for node in prepared.graph.nodes if _is_observer(prepared, node)}
        for node in self._stored:
            setattr(prepared, str(node.target), _Stored(prepared.get_submodule(str(node.target))))
        prepared.recompile()
        self.layers = tuple(dict.fromkeys(_layers(self._stored.values())))

    def only(self, layer: str) -> None:
        """One layer in 8 bits: its weights, what it reads and what it gives."""
        self._switch([layer in owners for owners in self._stored.values()])

    def all_but(self, kept: Sequence[str]) -> None:
        """Everything in 8 bits but these layers; a value is stored where one that is not kept reads or gives it."""
        self._switch([bool(owners - set(kept)) for owners in self._stored.values()])

    def float(self) -> None:
        """Nothing in 8 bits."""
        self._switch([False] * len(self._stored))

    @torch.no_grad()
    def run(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The program's outputs."""
        outputs: tuple[Tensor, ...] = tuple(self._module(*inputs))
        return outputs

    def _switch(self, on: Sequence[bool]) -> None:
        for node, wanted in zip(self._stored, on, strict=True):
            stored = self._module.get_submodule(str(node.target))
            assert isinstance(stored, _Stored)
            stored.on = wanted


def _is_observer(module: nn.Module, node: fx.Node) -> bool:
    return node.op == "call_module" and hasattr(module.get_submodule(str(node.target)), "calculate_qparams")


def _owners(observer: fx.Node) -> frozenset[str]:
    """Who wants the observed value stored: the layer that gives it, and those that read it."""
    source = observer.args[0]
    assert isinstance(source, fx.Node)
    giving = {_owner(source)} if _stores_what_it_gives(source) else set()
    return frozenset(giving | {_owner(user) for user in observer.users if _annotation(user) is not None})


def _owner(node: fx.Node) -> str:
    """A layer's path; that of the layer in front for an activation that is computed with it."""
    if node.target in WITH_WEIGHTS:
        return layer_of(node)
    source = node.args[0] if node.args else None
    fused = isinstance(source, fx.Node) and source.target in WITH_WEIGHTS and len(source.users) == 1
    return layer_of(source) if fused and isinstance(source, fx.Node) else OTHER


def _stores_what_it_gives(node: fx.Node) -> bool:
    annotation = _annotation(node)
    return annotation is not None and annotation.output_qspec is not None


def _annotation(node: fx.Node) -> Any:
    return node.meta.get("quantization_annotation")


def _layers(owners: Any) -> Iterator[str]:
    return (layer for names in owners for layer in sorted(names) if layer != OTHER)
