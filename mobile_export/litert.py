"""LiteRT export: several signatures in one .tflite that share weights, fp32 or int8, channels last."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import litert_torch
import msgspec
import numpy as np
import torch
from torch import fx, nn

from device_profiler.errors import InputError, VerificationError
from device_profiler.files import sha256_path, write_atomic
from device_profiler.targets import Precision
from device_profiler.workload import Array, Operator
from mobile_export.artifact import Artifact, EntryPoint
from mobile_export.canonical import canonical, value_of
from mobile_export.canonical_litert import LITERT_REWRITES
from mobile_export.exporters import Calibration, check_programs, toolchain
from mobile_export.float_layers import check_float_layers, is_quantised, layer_of, layers
from mobile_export.handover import handovers
from mobile_export.program import Program, TensorSpec
from mobile_export.quantize import quantize
from mobile_export.tflite_graph import TfliteGraph

CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
"""Kinds that may leave the integers, and come back by QUANTIZE, where a program keeps layers in floating point."""


def export(
    programs: Sequence[Program],
    destination: Path,
    *,
    precision: Precision = "int8",
    calibration: Calibration | None = None,
) -> Artifact:
    """Export `programs` as signatures of one .tflite; see `exporters.Exporter`.

    Four-dimensional inputs and outputs are NHWC, so that a stage hands its features on as they are. In int8 an input
    named "image" is stored as RGB value - 128.

    Raises:
        InputError: an unknown precision, a program that can't be exported, int8 without calibration.
        VerificationError: an undeclared operator off the integers, or a hand-over whose sides differ.
    """
    if precision not in ("fp32", "int8"):
        raise InputError(f"the LiteRT exporter offers fp32 and int8, not {precision!r}")
    check_programs(programs)
    content = _convert(programs)
    float_tensors: dict[str, tuple[str, ...]] = {}
    tails = frozenset(program.name for program in programs if TfliteGraph(content).confidence_tail(program.name))
    if precision == "int8":
        float_tensors = _float_tensors(programs, content)
        inputs = {program.name: tuple(spec.name for spec in program.inputs) for program in programs}
        outputs = {program.name: tuple(spec.name for spec in program.outputs) for program in programs}
        kept = [name for names in float_tensors.values() for name in names]
        content = quantize(content, inputs, outputs, _channels_last(calibration or {}), kept)
    entries = _entries(programs, TfliteGraph(content), precision, float_tensors, tails)
    _check_handovers(entries)
    write_atomic(destination, content)
    return Artifact(
        path=str(destination),
        sha256=sha256_path(destination),
        size_bytes=len(content),
        runtime="litert",
        precision=precision,
        entries=entries,
        toolchain=toolchain("litert"),
    )


def _convert(programs: Sequence[Program]) -> bytes:
    logging.getLogger("litert_torch").setLevel(logging.ERROR)
    converter = litert_torch.Converter()
    for program in programs:
        converter.signature(program.name, _channels_last_module(program), _example(program))
    return bytes(converter.convert().model_content())


def _channels_last_module(program: Program) -> nn.Module:
    graph_module = canonical(program, LITERT_REWRITES)
    arguments, outputs = _images(program.inputs), _images(program.outputs)
    wrapped = litert_torch.to_channel_last_io(graph_module, args=arguments, outputs=outputs)
    assert isinstance(wrapped, nn.Module)
    wrapped.training = False  # the graph inside is traced in evaluation mode and refuses .eval()
    return wrapped


def _images(specs: tuple[TensorSpec, ...]) -> list[int]:
    return [index for index, spec in enumerate(specs) if len(spec.shape) == 4]


def _example(program: Program) -> tuple[torch.Tensor, ...]:
    return tuple(
        tensor.permute(0, 2, 3, 1).contiguous() if tensor.ndim == 4 else tensor for tensor in program.example_inputs()
    )


def _channels_last(calibration: Calibration) -> Mapping[str, list[tuple[Array, ...]]]:
    return {entry: [tuple(map(_moved, sample)) for sample in samples] for entry, samples in calibration.items()}


def _moved(array: Array) -> Array:
    return np.ascontiguousarray(np.transpose(array, (0, 2, 3, 1))) if array.ndim == 4 else array


def _float_tensors(programs: Sequence[Program], content: bytes) -> dict[str, tuple[str, ...]]:
    """By program, unique names of what the layers make that it keeps in floating point; found by their weights."""
    graph, found = TfliteGraph(content), {}
    for program in programs:
        if program.float_layers:
            graph_module = canonical(program, LITERT_REWRITES)
            check_float_layers(program, graph_module)
            quantised = is_quantised(program)
            nodes = [node for _, node in layers(graph_module) if not quantised(node)]
            found[program.name] = tuple(_made_by(program, graph_module, node, graph) for node in nodes)
    return found


def _made_by(program: Program, graph_module: fx.GraphModule, node: fx.Node, graph: TfliteGraph) -> str:
    weights = value_of(graph_module, node.args[1])
    assert weights is not None
    made = tuple(graph.outputs_with(program.name, weights.numpy()))
    if len(made) != 1:
        raise VerificationError(
            f"layer {layer_of(node)!r} of entry {program.name!r} stands {len(made)} times in the LiteRT file, not "
            "once, and can't be kept in floating point: leave --max-int8-drop out"
        )
    return made[0]


def _entries(
    programs: Sequence[Program],
    graph: TfliteGraph,
    precision: str,
    float_tensors: Mapping[str, tuple[str, ...]],
    tails: frozenset[str],
) -> tuple[EntryPoint, ...]:
    found = tuple(
        _entry(program, graph, precision, mixed=bool(float_tensors), float_tail=program.name in tails)
        for program in programs
    )
    for entry in found:
        _check_float_layers(entry, len(float_tensors.get(entry.name, ())), precision)
    return found


def _entry(
    program: Program, graph: TfliteGraph, precision: str, *, mixed: bool, float_tail: bool
) -> EntryPoint:
    """`mixed`: some program of the file keeps layers in floating point; `float_tail`: its exit policy is there."""
    names = tuple(spec.name for spec in program.inputs), tuple(spec.name for spec in program.outputs)
    inputs, outputs = graph.ports(program.name, names)
    found = tuple(graph.operators(program.name))
    operators = tuple(one.operator for one in found)
    if precision == "fp32":
        return EntryPoint(program.name, inputs, outputs, tuple(map(_on_cpu, operators)))
    declared = ("DEQUANTIZE", *CONVOLUTIONS, "QUANTIZE") if mixed else ("DEQUANTIZE",)
    for one in found:
        stays = one.operator.delegated and (mixed or not one.behind_float)
        policy = float_tail and one.behind_softmax and not one.operator.macs
        if not (stays or policy or one.operator.kind in declared):
            raise VerificationError(
                f"entry {program.name!r}: operator {one.operator.kind!r} is off the integers; only an exit policy's "
                "arithmetic may be, at the end of the graph: rewrite it in mobile_export/canonical.py or change the "
                "network"
            )
    host_side = tuple(sorted({operator.kind for operator in operators if not operator.delegated}))
    return EntryPoint(program.name, inputs, outputs, operators, host_side)


def _check_float_layers(entry: EntryPoint, wanted: int, precision: str) -> None:
    found = sum(not operator.delegated and operator.kind in CONVOLUTIONS for operator in entry.operators)
    if precision == "int8" and found != wanted:
        raise VerificationError(
            f"entry {entry.name!r}: {found} convolution(s) are in floating point, {wanted} were to be: this version of "
            "ai-edge-quantizer does not do what was asked; leave --max-int8-drop out"
        )


def _on_cpu(operator: Operator) -> Operator:
    """In a float file every operator is where it was asked to be: on the CPU's kernels."""
    return msgspec.structs.replace(operator, delegated=True)


def _check_handovers(entries: tuple[EntryPoint, ...]) -> None:
    by_name = {entry.name: entry for entry in entries}
    for handover in handovers(tuple(by_name)):
        given = by_name[handover.producer].outputs[handover.output]
        taken = by_name[handover.consumer].inputs[handover.input]
        if (given.spec.shape, given.quantization) != (taken.spec.shape, taken.quantization):
            raise VerificationError(
                f"{handover.producer} hands on {given.spec.shape} quantised by {given.quantization}, but "
                f"{handover.consumer} takes {taken.spec.shape} quantised by {taken.quantization}: they must be equal"
            )
