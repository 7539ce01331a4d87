"""Graph rewrites for XNNPACK's int8 alone: what it lowers without a word and then refuses to load or to run."""

from typing import Any

import torch
from torch import fx

from mobile_export.canonical import CONVOLUTIONS, REWRITES, Rewrite, add_constant, argument, value_of
from mobile_export.float_layers import WITH_WEIGHTS, is_quantised
from mobile_export.program import Program

aten = torch.ops.aten
ENLARGING = (aten.upsample_bilinear2d.vec, aten.upsample_bilinear2d.default)


def separate_shared_weights(graph_module: fx.GraphModule) -> None:
    """A convolution called twice gets weights for each call: quantised once for both, the file fails to load."""
    graph, seen = graph_module.graph, set()
    for node in list(graph.nodes):
        if node.target not in CONVOLUTIONS:
            continue
        for position, given in enumerate(node.args[1:3], start=1):
            if not isinstance(given, fx.Node):
                continue
            if str(given.target) in seen:
                value = value_of(graph_module, given)
                assert value is not None
                with graph.inserting_before(node):
                    node.update_arg(position, add_constant(graph_module, f"{node.name}_own_{position}", value))
            seen.add(str(given.target))


def separate_enlarged_outputs(graph_module: fx.GraphModule) -> None:
    """A tensor that is enlarged and an output as well is multiplied by 1 in between: else it fails at run time."""
    graph = graph_module.graph
    outputs = _outputs(graph)
    for node in list(graph.nodes):
        source: Any = node.args[0] if node.args else None
        if node.target in ENLARGING and source in outputs:
            _multiply_by_one(graph, source, node)


NEARLY_ZERO = torch.finfo(torch.float32).tiny


def set_apart_float_layers(graph_module: fx.GraphModule, program: Program) -> None:
    """What the layers that stay in floating point read is theirs alone, and in floating point too."""
    quantised = is_quantised(program)
    for node in list(graph_module.graph.nodes):
        if node.target in WITH_WEIGHTS and not quantised(node):
            _pad_with_nearly_zero(graph_module.graph, node)
            _separate_output(graph_module.graph, node)
    graph_module.graph.eliminate_dead_code()
    graph_module.recompile()


def _pad_with_nearly_zero(graph: fx.Graph, layer: fx.Node) -> None:
    """XNNPACK's passes put a pad with zeros behind an int8 layer into int8, whatever reads it.

    A convolution in floating point behind it is then refused ("Weight and Input should both be quantized").
    """
    pad: Any = layer.args[0]
    if pad.target is not aten.pad.default or (argument(pad, 2) or "constant") != "constant" or argument(pad, 3):
        return
    with graph.inserting_before(layer):
        own = graph.call_function(aten.pad.default, (*pad.args[:2], "constant", NEARLY_ZERO))
    own.meta["val"] = pad.meta["val"]
    layer.replace_input_with(pad, own)


def _separate_output(graph: fx.Graph, layer: fx.Node) -> None:
    """What the layer reads and the program gives is multiplied by 1 in between: else it fails at run time."""
    source: Any = layer.args[0]
    reader = source if source.target is aten.pad.default else layer
    read: Any = reader.args[0]
    if read in _outputs(graph):
        _multiply_by_one(graph, read, reader)


def _outputs(graph: fx.Graph) -> list[fx.Node]:
    (output,) = (node for node in graph.nodes if node.op == "output")
    given: list[fx.Node] = output.all_input_nodes
    return given


def _multiply_by_one(graph: fx.Graph, source: fx.Node, reader: fx.Node) -> None:
    with graph.inserting_before(reader):
        copy = graph.call_function(aten.mul.Tensor, (source, 1.0))
    copy.meta["val"] = source.meta["val"]
    reader.replace_input_with(source, copy)


INT8_REWRITES: tuple[Rewrite, ...] = (*REWRITES, separate_shared_weights, separate_enlarged_outputs)
