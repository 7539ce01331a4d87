"""ExecuTorch export for the CPU: XNNPACK fp32 or int8, several methods in one .pte that share weights by content."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import XNNPACKQuantizer, get_symmetric_quantization_config
from executorch.exir import to_edge_transform_and_lower
from executorch.exir.backend.partitioner import PartitionResult
from torch import fx
from torchao.quantization.pt2e import MinMaxObserver
from torchao.quantization.pt2e.quantizer import FixedQParamsQuantizationSpec, QuantizationSpec

from device_profiler.errors import InputError
from device_profiler.targets import Precision
from mobile_export.artifact import Artifact
from mobile_export.canonical import canonical
from mobile_export.canonical_int8 import INT8_REWRITES, set_apart_float_layers
from mobile_export.executorch_graph import describe, write_program
from mobile_export.exporters import Calibration, check_programs
from mobile_export.float_layers import check_float_layers, is_quantised
from mobile_export.host_tail import KINDS, keep_beside, tail
from mobile_export.program import Program
from mobile_export.pt2e import calibrated


def export(
    programs: Sequence[Program],
    destination: Path,
    *,
    precision: Precision = "fp32",
    calibration: Calibration | None = None,
) -> Artifact:
    """Export `programs` as methods of one .pte; see `exporters.Exporter`.

    Raises:
        InputError: a precision other than fp32 and int8, a program that can't be exported, int8 without calibration.
        VerificationError: an undeclared operator is off the delegate.
    """
    if precision not in ("fp32", "int8"):
        raise InputError(f"the ExecuTorch XNNPACK exporter offers fp32 and int8, not {precision!r}")
    check_programs(programs)
    graphs = {program.name: _exported(program, precision, calibration) for program in programs}
    lowered = to_edge_transform_and_lower(graphs, partitioner={name: [_Partitioner()] for name in graphs})
    entries = tuple(describe(program, lowered, "XNNPACK", KINDS) for program in programs)
    return write_program(lowered, entries, destination, "executorch", precision)


def _exported(
    program: Program, precision: Precision, calibration: Calibration | None
) -> torch.export.ExportedProgram:
    graph_module = canonical(program, INT8_REWRITES if precision == "int8" else None)
    if precision == "int8":
        check_float_layers(program, graph_module)
        set_apart_float_layers(graph_module, program)
        graph_module = calibrated(program, graph_module, int8_quantizer(program), calibration)
    return torch.export.export(graph_module, program.example_inputs(), strict=False)


class _Partitioner(XnnpackPartitioner):  # type: ignore[misc]  # executorch has no types
    """XNNPACK's partitioner, but the confidence and the labels stay on ExecuTorch's portable kernels."""

    def partition(self, exported_program: torch.export.ExportedProgram) -> PartitionResult:
        found = super().partition(exported_program)
        keep_beside(exported_program)
        return found


class _Quantizer(XNNPACKQuantizer):  # type: ignore[misc]  # executorch has no types
    """XNNPACK's quantizer, but what goes into a ReLU6 is stored in steps over 0..6, so that storing it clips as well.

    By itself it stores all that a convolution gives and the ReLU6 behind it cuts off: on a trained EfficientNet-Lite0
    the mean error of the features is then half of their standard deviation. Patterns with BatchNorm, folded by now,
    are left out: they are traced anew for every program, four seconds each.
    """

    SUPPORTED_PATTERNS: ClassVar = [one for one in XNNPACKQuantizer.SUPPORTED_PATTERNS if "_bn" not in one.name]

    def annotate(self, model: fx.GraphModule) -> fx.GraphModule:
        model = super().annotate(model)
        for node in tail(model.graph):  # a policy counts and compares to more places than 256 steps hold
            node.meta.pop("quantization_annotation", None)
        for node in model.graph.nodes:
            source = node.args[0] if _is_relu6(node) else None
            if isinstance(source, fx.Node) and len(source.users) == 1:
                annotation = source.meta.get("quantization_annotation")
                if annotation is not None and annotation.output_qspec is not None:
                    annotation.output_qspec = _SIX
        return model


def _is_relu6(node: fx.Node) -> bool:
    if node.target in (torch.ops.aten.relu6.default, torch.ops.aten.relu6_.default):
        return True
    clip = (torch.ops.aten.hardtanh.default, torch.ops.aten.hardtanh_.default)
    return node.target in clip and tuple(node.args[1:]) == (0.0, 6.0)


_LIMITS = {"dtype": torch.int8, "quant_min": -128, "quant_max": 127, "qscheme": torch.per_tensor_affine}
_SIX = FixedQParamsQuantizationSpec(scale=6 / 255, zero_point=-128, **_LIMITS)


def int8_quantizer(program: Program) -> XNNPACKQuantizer:
    """Weights per channel, values by their least and largest: histograms, the default, would clip rare ones.

    What comes from the program's `float_layers` stays as it is.
    """
    values = QuantizationSpec(observer_or_fake_quant_ctr=MinMaxObserver.with_args(eps=2**-12), **_LIMITS)
    usual = get_symmetric_quantization_config(is_per_channel=True)
    settings = replace(usual, input_activation=values, output_activation=values)
    return _Quantizer().set_global(settings).set_filter_function(is_quantised(program))
