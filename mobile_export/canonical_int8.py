"""Graph rewrites for XNNPACK's int8 alone: what it lowers without a word and then refuses to load or to run."""

from typing import Any

import torch
from torch import fx

from mobile_export.canonical import CONVOLUTIONS, REWRITES, Rewrite, add_constant, value_of

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
    (output,) = (node for node in graph.nodes if node.op == "output")
    outputs = set(output.all_input_nodes)
    for node in list(graph.nodes):
        source: Any = node.args[0] if node.args else None
        if node.target in ENLARGING and source in outputs:
            with graph.inserting_before(node):
                copy = graph.call_function(aten.mul.Tensor, (source, 1.0))
            copy.meta["val"] = source.meta["val"]
            node.replace_input_with(source, copy)


INT8_REWRITES: tuple[Rewrite, ...] = (*REWRITES, separate_shared_weights, separate_enlarged_outputs)
