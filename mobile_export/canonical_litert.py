"""Graph rewrites for LiteRT alone: its kernels are channels last, and what helps them would cost XNNPACK's delegate."""

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from mobile_export.canonical import REWRITES, Rewrite, add_constant, argument, value_of

aten = torch.ops.aten
CHANNEL_OPERATIONS = (aten.softmax.int, aten.amax.default, aten.argmax.default)


def channels_last_reductions(graph_module: fx.GraphModule) -> None:
    """softmax, amax and argmax over the channels of NCHW become the same over the last dimension of NHWC.

    LiteRT has them for the last dimension only: elsewhere softmax falls apart into six operators.
    """
    graph = graph_module.graph
    for node in list(graph.nodes):
        if node.target not in CHANNEL_OPERATIONS or node.meta["val"].dim() < 3 or argument(node, 1) not in (1, [1]):
            continue
        keeps_shape = node.target is aten.softmax.int
        if node.args[0].meta["val"].dim() != 4 or (not keeps_shape and argument(node, 2)):
            continue
        with graph.inserting_before(node):
            moved = graph.call_function(aten.permute.default, (node.args[0], [0, 2, 3, 1]))
            last = [3] if node.target is aten.amax.default else 3
            result = graph.call_function(node.target, (moved, last, *node.args[2:]))
            if keeps_shape:
                result = graph.call_function(aten.permute.default, (result, [0, 3, 1, 2]))
                result.meta["val"] = node.meta["val"]
        node.replace_all_uses_with(result)
        graph.erase_node(node)
    cancel_permutes(graph_module)


def cancel_permutes(graph_module: fx.GraphModule) -> None:
    """Two permutes in a row that undo each other vanish."""
    for node in list(graph_module.graph.nodes):
        source: Any = node.args[0] if node.args else None
        if node.target is not aten.permute.default or not isinstance(source, fx.Node):
            continue
        order: Any = source.args[1] if source.target is aten.permute.default else ()
        if order and [order[i] for i in node.args[1]] == [0, 1, 2, 3]:
            node.replace_all_uses_with(source.args[0])
            graph_module.graph.erase_node(node)


AFFINE: dict[object, Callable[..., torch.Tensor]] = {
    aten.add.Tensor: torch.add,
    aten.sub.Tensor: torch.sub,
    aten.mul.Tensor: torch.mul,
    aten.div.Tensor: torch.div,
}


def normalisation_as_convolution(graph_module: fx.GraphModule) -> None:
    """What scales and shifts an input per channel, before anything else, becomes one 1x1 depthwise convolution.

    LiteRT then keeps the image in NHWC and merges the padding behind it, and its integer form is exact.
    """
    graph = graph_module.graph
    for image in [node for node in graph.nodes if node.op == "placeholder" and node.meta["val"].dim() == 4]:
        channels = image.meta["val"].shape[1]
        zero, one = torch.zeros(1, channels, 1, 1), torch.ones(1, channels, 1, 1)
        last, at_zero, at_one = image, zero, one
        while len(last.users) == 1 and (following := _affine_step(graph_module, next(iter(last.users)), last)):
            last, at_zero, at_one = next(iter(last.users)), following(at_zero), following(at_one)
        if last is image or at_zero.shape != zero.shape:
            continue
        with graph.inserting_after(image):
            weight = add_constant(graph_module, f"{image.name}_scale", (at_one - at_zero).reshape(channels, 1, 1, 1))
        with graph.inserting_after(weight):
            bias = add_constant(graph_module, f"{image.name}_shift", at_zero.reshape(channels))
        with graph.inserting_after(last):
            arguments = (image, weight, bias, [1, 1], [0, 0], [1, 1], channels)
            convolution = graph.call_function(aten.conv2d.default, arguments)
        last.replace_all_uses_with(convolution)


def _affine_step(
    graph_module: fx.GraphModule, node: fx.Node, source: fx.Node
) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """What `node` does to `source`, if that is to add or multiply a constant."""
    function = AFFINE.get(node.target)
    if function is None or node.args[0] is not source or node.kwargs:
        return None
    other: Any = node.args[1]
    constant = value_of(graph_module, other) if isinstance(other, fx.Node) and other.op == "get_attr" else other
    if isinstance(constant, fx.Node):
        return None
    return lambda value: function(value, constant)


LITERT_REWRITES: tuple[Rewrite, ...] = (*REWRITES, channels_last_reductions, normalisation_as_convolution)
