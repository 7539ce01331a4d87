"""Graph rewrites before export: fold BatchNorm, respell what splits or breaks a delegate.

Every rewrite works on the ATen graph of `torch.export`, so it does not matter how the module is composed, and the
caller's module is never touched. Each one keeps the function (up to float rounding).
"""

import copy
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn

from device_profiler.errors import InputError
from mobile_export.program import Program

aten = torch.ops.aten
CONVOLUTIONS = (aten.conv2d.default, aten.conv1d.default)
BATCH_NORMS = (aten.batch_norm.default, aten._native_batch_norm_legit_no_training.default)


Rewrite = Callable[[fx.GraphModule], None]


def canonical(program: Program, rewrites: tuple[Rewrite, ...] | None = None) -> fx.GraphModule:
    """The program's graph with `rewrites` (default REWRITES) applied, as a module of the same inputs and outputs.

    Raises:
        InputError: the module can't be traced, or its outputs differ from those declared.
    """
    graph_module = trace(program)
    for rewrite in REWRITES if rewrites is None else rewrites:
        rewrite(graph_module)
    graph_module.graph.eliminate_dead_code()
    graph_module.delete_all_unused_submodules()
    graph_module.graph.lint()
    graph_module.recompile()
    return graph_module


def trace(program: Program) -> fx.GraphModule:
    """The program's ATen graph with fixed shapes, parameters as attributes, outputs as a tuple.

    Raises:
        InputError: the module can't be traced (control flow that depends on data, an unknown operation), or its
            outputs differ from those declared.
    """
    module = copy.deepcopy(program.module).eval()
    try:
        exported = torch.export.export(module, program.example_inputs(), strict=False)
    except (RuntimeError, TypeError, ValueError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"program {program.name!r} can't be exported: {reason}; exported modules have fixed shapes and no control "
            "flow that depends on data"
        ) from error
    _check_outputs(program, exported)
    graph_module = exported.module(check_guards=False)
    assert isinstance(graph_module, fx.GraphModule)
    return graph_module


def _check_outputs(program: Program, exported: torch.export.ExportedProgram) -> None:
    (output,) = (node for node in exported.graph.nodes if node.op == "output")
    values = [node.meta["val"] for node in output.args[0]]
    found = [(tuple(value.shape), str(value.dtype).removeprefix("torch.")) for value in values]
    declared = [(spec.shape, spec.dtype) for spec in program.outputs]
    if found != declared:
        raise InputError(f"program {program.name!r} gives outputs {found}, but declares {declared}: correct it")


def fold_batch_norm(graph_module: fx.GraphModule) -> None:
    """Fold each BatchNorm that follows a convolution into that convolution's weight and bias."""
    for node in list(graph_module.graph.nodes):
        if node.op != "call_function" or node.target not in BATCH_NORMS:
            continue
        conv = node.args[0]
        if conv.op == "call_function" and conv.target in CONVOLUTIONS and len(conv.users) == 1:
            _fold_one(graph_module, conv, node)


def _fold_one(graph_module: fx.GraphModule, conv: fx.Node, norm: fx.Node) -> None:
    weight, bias = value_of(graph_module, conv.args[1]), value_of(graph_module, argument(conv, 2))
    gamma, beta, mean, variance = (value_of(graph_module, argument) for argument in norm.args[1:5])
    assert weight is not None and mean is not None and variance is not None
    epsilon = norm.args[7 if norm.target is aten.batch_norm.default else 6]
    folded_weight, folded_bias = nn.utils.fuse_conv_bn_weights(weight, bias, mean, variance, epsilon, gamma, beta)  # type: ignore[arg-type]
    with graph_module.graph.inserting_before(conv):
        new_weight = add_constant(graph_module, f"{conv.name}_folded_weight", folded_weight)
        new_bias = add_constant(graph_module, f"{conv.name}_folded_bias", folded_bias)
    conv.args = (conv.args[0], new_weight, new_bias, *conv.args[3:])
    if norm.target is aten.batch_norm.default:
        norm.replace_all_uses_with(conv)
        return
    for user in list(norm.users):
        assert user.target is operator.getitem and user.args[1] == 0
        user.replace_all_uses_with(conv)


def argument(node: fx.Node, position: int) -> Any:
    return node.args[position] if len(node.args) > position else None


def value_of(graph_module: fx.GraphModule, node: Any) -> torch.Tensor | None:
    """The tensor behind a get_attr node; None for an absent argument."""
    if node is None:
        return None
    tensor = operator.attrgetter(node.target)(graph_module)
    assert isinstance(tensor, torch.Tensor)
    return tensor.detach()


def add_constant(graph_module: fx.GraphModule, name: str, tensor: torch.Tensor) -> fx.Node:
    graph_module.register_buffer(name, tensor.detach().clone())
    return graph_module.graph.get_attr(name)


def respell_hardsigmoid(graph_module: fx.GraphModule) -> None:
    """Hardsigmoid has no delegate: relu6(x + 3) / 6 has."""
    graph = graph_module.graph
    for node in list(graph.nodes):
        if node.target not in (aten.hardsigmoid.default, aten.hardsigmoid_.default):
            continue
        with graph.inserting_before(node):
            shifted = graph.call_function(aten.add.Tensor, (node.args[0], 3.0))
            clipped = graph.call_function(aten.hardtanh.default, (shifted, 0.0, 6.0))
            scaled = graph.call_function(aten.mul.Tensor, (clipped, 1.0 / 6.0))
        node.replace_all_uses_with(scaled)
        graph.erase_node(node)


def softmax_before_permute(graph_module: fx.GraphModule) -> None:
    """softmax(permute(x), d) becomes permute(softmax(x, d')).

    Lowered by XNNPACK as written, a convolution, a permute to channels last and softmax(-1) give wrong values.
    """
    graph = graph_module.graph
    for node in list(graph.nodes):
        source = node.args[0] if node.args else None
        if node.target is not aten.softmax.int or not isinstance(source, fx.Node):
            continue
        if source.target is not aten.permute.default:
            continue
        order: Any = source.args[1]
        with graph.inserting_before(node):
            inner = graph.call_function(aten.softmax.int, (source.args[0], order[node.args[1]], *node.args[2:]))
            outer = graph.call_function(aten.permute.default, (inner, order))
        node.replace_all_uses_with(outer)
        graph.erase_node(node)


def fold_symmetric_padding(graph_module: fx.GraphModule) -> None:
    """Zero padding that is the same at both ends moves into the convolution that follows it."""
    for node in list(graph_module.graph.nodes):
        if node.target is not aten.conv2d.default:
            continue
        pad = node.args[0]
        if pad.target is aten.pad.default and _is_symmetric_zero_pad(pad):
            left, _, top, _ = pad.args[1]
            stride, padding, rest = argument(node, 3) or [1, 1], argument(node, 4) or [0, 0], node.args[5:]
            bias = argument(node, 2)
            node.args = (pad.args[0], node.args[1], bias, stride, [padding[0] + top, padding[1] + left], *rest)


def _is_symmetric_zero_pad(pad: fx.Node) -> bool:
    widths: Any = pad.args[1]
    if len(widths) != 4 or widths[0] != widths[1] or widths[2] != widths[3]:
        return False
    return (argument(pad, 2) or "constant") == "constant" and not argument(pad, 3)


def drop_metadata_asserts(graph_module: fx.GraphModule) -> None:
    """Shapes and dtypes are fixed at export: the graph need not assert them again."""
    for node in list(graph_module.graph.nodes):
        if node.target is aten._assert_tensor_metadata.default:
            graph_module.graph.erase_node(node)


ARITHMETIC = (aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor)


def float_scalars(graph_module: fx.GraphModule) -> None:
    """x - 127 becomes x - 127.0: ExecuTorch makes a whole number a tensor that it casts off the delegate."""
    for node in graph_module.graph.nodes:
        if node.target in ARITHMETIC and type(node.args[1]) is int and node.meta["val"].is_floating_point():
            node.args = (node.args[0], float(node.args[1]))


REWRITES: tuple[Rewrite, ...] = (
    drop_metadata_asserts,
    float_scalars,
    fold_symmetric_padding,
    fold_batch_norm,
    respell_hardsigmoid,
    softmax_before_permute,
)
