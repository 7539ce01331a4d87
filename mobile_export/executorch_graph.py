"""What a graph lowered by ExecuTorch consists of: operators on and off the delegate, ports, undeclared fallbacks."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from executorch.exir import EdgeProgramManager

from device_profiler.errors import VerificationError
from device_profiler.files import sha256_path, write_atomic
from device_profiler.targets import Precision, Runtime
from device_profiler.workload import Operator
from mobile_export.artifact import Artifact, EntryPoint, Port
from mobile_export.exporters import toolchain
from mobile_export.program import Program, TensorSpec

CAST = "to_dim_order_copy"


def write_program(
    lowered: EdgeProgramManager,
    entries: tuple[EntryPoint, ...],
    destination: Path,
    runtime: Runtime,
    precision: Precision,
) -> Artifact:
    """Write a lowered program as one .pte and describe it."""
    write_atomic(destination, bytes(lowered.to_executorch().buffer))
    return Artifact(
        path=str(destination),
        sha256=sha256_path(destination),
        size_bytes=destination.stat().st_size,
        runtime=runtime,
        precision=precision,
        entries=entries,
        toolchain=toolchain(runtime),
    )


def describe(program: Program, lowered: EdgeProgramManager, delegate: str, host_side: Sequence[str]) -> EntryPoint:
    """The entry point that `program` became: its ports, its operators and where they run.

    `delegate`: its name, for messages; `host_side`: kinds of operators that may stay off it, at the end of the graph.

    Raises:
        VerificationError: another operator is off the delegate, or the delegate waits for one that is.
    """
    exported = lowered.exported_program(program.name)
    _check_fallbacks(program.name, exported, delegate, host_side)
    operators = tuple(_operators(exported, delegated=False))
    return EntryPoint(
        name=program.name,
        inputs=tuple(_port(spec) for spec in program.inputs),
        outputs=tuple(_port(spec) for spec in program.outputs),
        operators=operators,
        host_side=tuple(sorted({op.kind for op in operators if not op.delegated})),
    )


def _port(spec: TensorSpec) -> Port:
    if len(spec.shape) != 4:
        return Port(spec)
    return Port(spec, layout="NHWC" if spec.dtype == "uint8" else "NCHW")


def _check_fallbacks(
    name: str, exported: torch.export.ExportedProgram, delegate: str, host_side: Sequence[str]
) -> None:
    """Off the delegate only what is declared, and only behind it: a delegate that waits for the host is a fallback."""
    host_nodes: set[torch.fx.Node] = set()
    for node in exported.graph.nodes:
        if _is_cast_of_bytes(node):
            continue
        if node.op != "call_function" or _is_getitem(node):
            if any(argument in host_nodes for argument in node.all_input_nodes):
                host_nodes.add(node)
            continue
        if _is_delegate(node):
            early = [argument for argument in node.all_input_nodes if argument in host_nodes]
            if early:
                raise VerificationError(_fallback(name, kind_of(early[0]), delegate, host_side))
            continue
        if kind_of(node) not in host_side:
            raise VerificationError(_fallback(name, kind_of(node), delegate, host_side))
        host_nodes.add(node)


def _is_cast_of_bytes(node: torch.fx.Node) -> bool:
    """The cast of a camera's bytes, which delegates can't take: the one thing that goes before them by design."""
    if node.op != "call_function" or kind_of(node) != CAST:
        return False
    source = node.all_input_nodes[0]
    return source.op == "placeholder" and bool(source.meta["val"].dtype == torch.uint8)


def _fallback(name: str, kind: str, delegate: str, host_side: Sequence[str]) -> str:
    allowed = "only the confidence and the labels may, at the end of the graph" if host_side else "none may"
    return (
        f"entry {name!r}: operator {kind!r} fell off the {delegate} delegate; {allowed}: rewrite it in "
        "mobile_export/canonical.py or change the network"
    )


def _operators(exported: torch.export.ExportedProgram, *, delegated: bool) -> Iterator[Operator]:
    parameters = _parameter_names(exported)
    for node in exported.graph.nodes:
        if node.op != "call_function" or _is_getitem(node):
            continue
        if _is_delegate(node):
            submodule = getattr(exported.graph_module, node.args[0].target)
            yield from _operators(submodule.original_module, delegated=True)
        elif not (delegated and kind_of(node) in STORING):
            yield _operator(node, parameters, delegated)


def _operator(node: torch.fx.Node, parameters: set[str], delegated: bool) -> Operator:
    read = [source for source in node.all_input_nodes if isinstance(source.meta.get("val"), torch.Tensor)]
    inputs = [_as_stored(source) for source in read]
    weights = [source for source in inputs if source.name in parameters]
    output = _first_tensor(_as_written(node).meta["val"])
    depthwise = kind_of(node) == "convolution" and inputs[1].meta["val"].shape[1] == 1 < inputs[1].meta["val"].shape[0]
    return Operator(
        kind="depthwise_convolution" if depthwise else kind_of(node),
        macs=_macs(kind_of(node), tuple(source.meta["val"].shape for source in inputs), output.shape),
        bytes_weights=sum(_nbytes(source.meta["val"]) for source in weights),
        bytes_in=sum(_nbytes(source.meta["val"]) for source in inputs if source not in weights),
        bytes_out=_nbytes(output),
        delegated=delegated,
    )


STORING = ("quantize_per_tensor", "dequantize_per_tensor", "dequantize_per_channel")
"""In a delegate these say how a value is stored between two operators; they are no work of their own."""


def _as_stored(node: torch.fx.Node) -> torch.fx.Node:
    """The int8 tensor behind a dequantise operator, or the tensor itself."""
    if node.op == "call_function" and kind_of(node).startswith("dequantize"):
        source = node.args[0]
        assert isinstance(source, torch.fx.Node)
        return source
    return node


def _as_written(node: torch.fx.Node) -> torch.fx.Node:
    """The quantise operator that alone takes what `node` gives, or `node` itself."""
    users = list(node.users)
    return users[0] if len(users) == 1 and kind_of(users[0]) == "quantize_per_tensor" else node


def _parameter_names(exported: torch.export.ExportedProgram) -> set[str]:
    signature = exported.graph_signature
    return {
        *signature.inputs_to_parameters,
        *signature.inputs_to_buffers,
        *signature.inputs_to_lifted_tensor_constants,
    }


def _first_tensor(value: Any) -> torch.Tensor:
    tensor = value[0] if isinstance(value, (tuple, list)) else value
    assert isinstance(tensor, torch.Tensor)
    return tensor


def _nbytes(tensor: torch.Tensor) -> int:
    return math.prod(tensor.shape) * tensor.element_size()


def _is_getitem(node: torch.fx.Node) -> bool:
    return getattr(node.target, "__name__", "") == "getitem"


def _is_delegate(node: torch.fx.Node) -> bool:
    return "executorch_call_delegate" in str(node.target)


def kind_of(node: torch.fx.Node) -> str:
    """An operator's bare name: "convolution" for aten.convolution.default."""
    target = node.target
    operator = target if isinstance(target, torch._ops.OpOverload) else getattr(target, "_op", target)  # of edge's
    name = getattr(operator, "_schema", None)
    bare = str(name.name).split("::")[-1] if name is not None else str(node.target)
    return bare.removeprefix("_")


def _macs(kind: str, inputs: tuple[torch.Size, ...], output: torch.Size) -> int:
    """Multiply-adds of one operator by its bare name: convolutions and matrix products; every other one counts none.

    `inputs`: shapes of its tensor arguments in order. A convolution does, for each output value, one multiply-add per
    weight of its filter.
    """
    if kind in ("convolution", "conv2d", "conv1d"):
        return math.prod(output) * math.prod(inputs[1][1:])
    if kind in ("linear", "mm", "bmm", "matmul"):
        return math.prod(output) * inputs[0][-1]
    if kind == "addmm":
        return math.prod(output) * inputs[1][-1]
    return 0
