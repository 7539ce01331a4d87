"""What follows a softmax or an argmax in a graph: the exit policy's confidence, and the labels.

Delegates lack part of these operators and take others between them, and would then wait for the host in the middle. So
the tail stays beside the delegate as one piece, and in floating point.
"""

import torch
from torch import fx

from mobile_export.executorch_graph import kind_of

KINDS = (
    *("softmax", "argmax", "amax", "amin", "mean", "sum", "log", "clamp", "minimum", "maximum", "max_pool2d"),
    *("add", "sub", "mul", "neg", "div", "ge", "lt", "le", "ne", "where", "full_like", "avg_pool2d", "cat"),
    *("slice_copy", "unsqueeze_copy", "squeeze_copy", "view_copy", "to_dim_order_copy"),
)
"""What the exit policies and the labels are made of."""
_BEGIN = ("softmax", "argmax")


def tail(graph: fx.Graph) -> list[fx.Node]:
    """Every operator from the first softmax or argmax on that its result reaches, in order."""
    found: dict[fx.Node, None] = {}
    for node in graph.nodes:
        if node.op == "call_function" and (kind_of(node) in _BEGIN or any(n in found for n in node.all_input_nodes)):
            found[node] = None
    return list(found)


def keep_beside(exported: torch.export.ExportedProgram) -> None:
    """Take the tail, and constants that it alone reads, from what a partitioner has tagged for its delegate."""
    for node in tail(exported.graph):
        node.meta.pop("delegation_tag", None)
    for node in exported.graph.nodes:
        if node.op == "placeholder" and not any("delegation_tag" in user.meta for user in node.users):
            node.meta.pop("delegation_tag", None)
