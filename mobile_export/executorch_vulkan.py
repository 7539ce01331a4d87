"""ExecuTorch export for the GPU of Android phones: the Vulkan delegate, fp16 inside. No machine here can run it."""

from collections.abc import Sequence
from pathlib import Path

import torch
from executorch.backends.vulkan.partitioner.vulkan_partitioner import VulkanPartitioner
from executorch.exir import to_edge_transform_and_lower
from executorch.exir.dialects._ops import ops as exir_ops

from device_profiler.errors import InputError
from device_profiler.targets import Precision
from mobile_export.artifact import Artifact
from mobile_export.canonical import canonical
from mobile_export.executorch_graph import describe, write_program
from mobile_export.exporters import Calibration, check_programs
from mobile_export.program import Program

HOST_SIDE = ("argmax", "to_dim_order_copy", "amax", "mean")
"""Kinds of operators that stay on ExecuTorch's portable kernels: what follows the network."""
NOT_WORTH_A_HANDOVER = (exir_ops.edge.dim_order_ops._to_dim_order_copy.default,)
"""Left to itself the delegate takes the labels' cast, behind an argmax that it lacks: back to the GPU for that."""


def export(
    programs: Sequence[Program],
    destination: Path,
    *,
    precision: Precision = "fp16",
    calibration: Calibration | None = None,
) -> Artifact:
    """Export `programs` as methods of one .pte for Vulkan; see `exporters.Exporter`. Inputs and outputs are float32.

    Raises:
        InputError: a precision other than fp16, a program that can't be exported.
        VerificationError: an undeclared operator is off the delegate.
    """
    if precision != "fp16":
        raise InputError(f"the ExecuTorch Vulkan exporter offers fp16, not {precision!r}")
    check_programs(programs)
    graphs = {
        program.name: torch.export.export(canonical(program), program.example_inputs(), strict=False)
        for program in programs
    }
    left = list(NOT_WORTH_A_HANDOVER)
    partitioners = {name: [VulkanPartitioner({"force_fp16": True}, operator_blocklist=left)] for name in graphs}
    lowered = to_edge_transform_and_lower(graphs, partitioner=partitioners)
    entries = tuple(describe(program, lowered, "Vulkan", HOST_SIDE) for program in programs)
    return write_program(lowered, entries, destination, "executorch-vulkan", precision)
