"""A network's graph by torch.fx: what it calls in which order, and the shape of every value."""

import copy
import io
import traceback
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp, TensorMetadata
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.dropout import _DropoutNd

from device_profiler.errors import InputError

PROBE = 256
"""Side in pixels of the image whose shapes are followed through a graph."""


class _Tracer(fx.Tracer):
    """Looks into everything that has children, but never into layers that behave differently in training."""

    def __init__(self, whole: Callable[[nn.Module], bool]) -> None:
        super().__init__()
        self.whole = whole

    def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
        atomic = isinstance(module, (_NormBase, _ConvNd, _DropoutNd)) or not any(True for _ in module.children())
        return atomic or super().is_leaf_module(module, qualified_name) or self.whole(module)


def trace_network(network: nn.Module, title: str, whole: Callable[[nn.Module], bool]) -> fx.GraphModule:
    """The graph of `network` in eval mode; modules for which `whole` holds are one node each.

    Every node that is a tensor has its shape for an image of PROBE x PROBE in `meta["tensor_meta"]`.

    Raises:
        InputError: it can't be traced (control flow on data, an unknown operation) or does not take an image
            [N, 3, H, W]; the message names the node and the line.
    """
    tracer = _Tracer(whole)
    try:
        graph = tracer.trace(network.eval())
    except (fx.proxy.TraceError, RuntimeError, TypeError, ValueError, AssertionError, AttributeError) as error:
        raise InputError(_untraceable(title, tracer, error)) from error
    graph_module = fx.GraphModule(network, graph)
    _propagate_shapes(graph_module, title)
    return graph_module


def _untraceable(title: str, tracer: _Tracer, error: Exception) -> str:
    nodes = list(tracer.graph.nodes) if hasattr(tracer, "graph") else []
    last = f"after node {nodes[-1].name!r}" if nodes else "at its input"
    inside = next(reversed(list(owners(nodes[-1]))), ("", nn.Module))[0] if nodes else ""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/torch/" not in frame.filename]
    place = f", {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return (
        f"{title} can't be traced: {last}, in {inside or 'the network itself'!r}{place}: {reason}; a backbone has no "
        "control flow that depends on values (write it without `if` on tensors, or wrap the part in a module of its "
        "own without children)"
    )


def _propagate_shapes(graph_module: fx.GraphModule, title: str) -> None:
    tensors = {id(t): t for t in (*graph_module.parameters(), *graph_module.buffers())}
    without_data = {key: _meta_like(tensor) for key, tensor in tensors.items()}
    meta = copy.deepcopy(graph_module, without_data)
    try:
        with torch.no_grad(), redirect_stderr(io.StringIO()):  # ShapeProp prints the traceback of what it raises
            ShapeProp(meta).propagate(torch.zeros(1, 3, PROBE, PROBE, device="meta"))
    except (RuntimeError, TypeError, ValueError) as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise InputError(
            f"{title} does not take an image [N, 3, {PROBE}, {PROBE}]: {reason.rstrip(' .,')}; a backbone takes any "
            "size in multiples of 32, and past its output stride convolutions alone shrink its maps: choose another "
            "one, or output_stride = 32 in a preset (--preset FILE.toml), where nothing is dilated"
        ) from error
    for ours, theirs in zip(graph_module.graph.nodes, meta.graph.nodes, strict=True):
        if "tensor_meta" in theirs.meta:
            ours.meta["tensor_meta"] = theirs.meta["tensor_meta"]


def _meta_like(tensor: torch.Tensor) -> torch.Tensor:
    empty = torch.empty_like(tensor, device="meta")
    return nn.Parameter(empty, requires_grad=False) if isinstance(tensor, nn.Parameter) else empty


def shape_of(node: fx.Node) -> tuple[int, ...] | None:
    """The shape of what a node gives for the probe image; None where it is not one tensor."""
    found = node.meta.get("tensor_meta")
    return tuple(found.shape) if isinstance(found, TensorMetadata) else None


def owners(node: fx.Node) -> Iterator[tuple[str, type[nn.Module]]]:
    """The modules in which a node was traced, outermost first: path and class. The network itself is left out."""
    for path, (_, kind) in node.meta.get("nn_module_stack", {}).items():
        if path:
            yield path, kind


def module_of(graph_module: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The module that a call_module node calls."""
    return graph_module.get_submodule(str(node.target)) if node.op == "call_module" else None


def is_feature_map(node: fx.Node) -> bool:
    """Whether a node gives one tensor [N, C, h, w]."""
    shape = shape_of(node)
    return shape is not None and len(shape) == 4
