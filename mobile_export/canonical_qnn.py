"""Graph rewrites for Qualcomm's QNN alone."""

import torch
from torch import fx

from mobile_export.canonical import REWRITES, Rewrite

aten = torch.ops.aten


def outputs_of_their_own(graph_module: fx.GraphModule) -> None:
    """What is given back and computed with too is given back times 1: else wrong in fp16 files of several methods."""
    graph = graph_module.graph
    (output,) = (node for node in graph.nodes if node.op == "output")
    for source in list(output.all_input_nodes):
        if len(source.users) > 1 and source.meta["val"].is_floating_point():
            with graph.inserting_before(output):
                copy = graph.call_function(aten.mul.Tensor, (source, 1.0))
            copy.meta["val"] = source.meta["val"]
            output.replace_input_with(source, copy)


QNN_REWRITES: tuple[Rewrite, ...] = (*REWRITES, outputs_of_their_own)
