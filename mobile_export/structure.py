"""What identifies a part whatever its weights: its lowered graph's shape, precision and toolchain."""

import re

from torch import fx

from device_profiler.files import sha256_bytes
from mobile_export.canonical import canonical, value_of
from mobile_export.exporters import toolchain
from mobile_export.float_layers import is_quantised
from mobile_export.program import Program


def structure_hash(program: Program, runtime: str, precision: str) -> str:
    """SHA-256 of a program's canonical graph with every tensor's shape, its precision and its toolchain's versions.

    Weights count by shape alone, so a retrained network keeps its hash and its measurements; names of modules and of
    the entry don't count either. Numbers written in the graph (strides, scales, thresholds) do.

    Raises:
        InputError: the program can't be traced, or the runtime is unknown.
    """
    versions = ",".join(f"{package}={version}" for package, version in sorted(toolchain(runtime).items()))
    graph_module = canonical(program)
    kept = [f"float {position}" for position in _float_positions(program, graph_module)] if precision == "int8" else []
    text = "\n".join([_graph_text(graph_module), runtime, precision, versions, *kept])
    return sha256_bytes(text.encode())


def _float_positions(program: Program, graph_module: fx.GraphModule) -> list[int]:
    """Where the layers that stay in floating point stand in the graph: they take another time than int8 ones."""
    quantised = is_quantised(program)
    return [position for position, node in enumerate(graph_module.graph.nodes) if not quantised(node)]


def _graph_text(graph_module: fx.GraphModule) -> str:
    """One line a node, nodes and weights by their position."""
    numbers = {node: f"%{position}" for position, node in enumerate(graph_module.graph.nodes)}
    return "\n".join(_line(graph_module, node, numbers) for node in graph_module.graph.nodes)


def _line(graph_module: fx.GraphModule, node: fx.Node, numbers: dict[fx.Node, str]) -> str:
    if node.op == "get_attr":
        tensor = value_of(graph_module, node)
        assert tensor is not None
        return f"weight {tuple(tensor.shape)} {tensor.dtype}"
    if node.op == "placeholder":
        value = node.meta["val"]
        return f"input {tuple(value.shape)} {value.dtype}"
    arguments = fx.node.map_arg((node.args, node.kwargs), lambda argument: numbers[argument])
    target = node.target if node.op == "call_function" else node.op
    return f"{target} {_without_addresses(arguments)}"


def _without_addresses(arguments: object) -> str:
    """Argument text without memory addresses, which would differ from run to run."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(arguments))
