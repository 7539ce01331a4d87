"""Graph rewrites for Qualcomm's NPU alone."""

import torch
from torch import fx

from mobile_export.canonical import REWRITES, Rewrite

aten = torch.ops.aten


def separate_outputs(graph_module: fx.GraphModule) -> None:
    """An output that the graph goes on with is multiplied by 1 before it is given back.

    ExecuTorch 1.5.1 turns what the HTP computes (channels last) back for each user of a tensor in the order of a set of
    nodes, that is by memory address: by chance the output stays channels last, and is read as if it were not.
    """
    graph = graph_module.graph
    (output,) = (node for node in graph.nodes if node.op == "output")
    for source in list(output.all_input_nodes):
        if len(source.users) > 1:
            with graph.inserting_before(output):
                copy = graph.call_function(aten.mul.Tensor, (source, 1.0))
            copy.meta["val"] = source.meta["val"]
            output.replace_input_with(source, copy)


QNN_REWRITES: tuple[Rewrite, ...] = (*REWRITES, separate_outputs)
