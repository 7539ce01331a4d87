"""Which operators of an int8 graph stay in floating point: those of the layers that a program names."""

from collections.abc import Callable, Iterator

import torch
from torch import fx

from device_profiler.errors import InputError
from mobile_export.canonical import CONVOLUTIONS
from mobile_export.program import Program

WITH_WEIGHTS = (*CONVOLUTIONS, torch.ops.aten.linear.default)


def layer_of(node: fx.Node) -> str:
    """Path of the module that an operator comes from, in the program's module; empty for one that a rewrite made."""
    stack: dict[str, tuple[str, object]] = node.meta.get("nn_module_stack") or {}
    return list(stack.values())[-1][0] if stack else ""


def layers(graph_module: fx.GraphModule) -> Iterator[tuple[str, fx.Node]]:
    """Every operator with weights that comes from a module, with that module's path."""
    for node in graph_module.graph.nodes:
        if node.target in WITH_WEIGHTS and layer_of(node):
            yield layer_of(node), node


def check_float_layers(program: Program, graph_module: fx.GraphModule) -> None:
    """Hold the layers that a program keeps against its canonical graph.

    Raises:
        InputError: one that the graph does not have.
    """
    known = {path for path, _ in layers(graph_module)}
    if missing := sorted(set(program.float_layers) - known):
        raise InputError(
            f"program {program.name!r} has no layer {missing[0]!r} to keep in floating point: it has "
            f"{', '.join(sorted(known))}"
        )


def is_quantised(program: Program) -> Callable[[fx.Node], bool]:
    """A filter for quantizers: false for operators of the layers that the program keeps."""
    kept = set(program.float_layers)
    return lambda node: not (node.target in WITH_WEIGHTS and layer_of(node) in kept)
