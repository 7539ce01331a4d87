"""ExecuTorch export for Apple's units: the Core ML delegate, for apps that have ExecuTorch's API on both platforms."""

import logging
from collections.abc import Sequence
from pathlib import Path

import coremltools as ct
import torch
from executorch.backends.apple.coreml.compiler import CoreMLBackend
from executorch.backends.apple.coreml.partition import CoreMLPartitioner
from executorch.exir import to_edge_transform_and_lower

from device_profiler.errors import InputError
from device_profiler.targets import Precision
from mobile_export.artifact import Artifact
from mobile_export.canonical import canonical
from mobile_export.canonical_coreml import COREML_REWRITES
from mobile_export.executorch_graph import describe, write_program
from mobile_export.exporters import Calibration, check_programs
from mobile_export.program import Program

PRECISIONS = {"fp32": ct.precision.FLOAT32, "fp16": ct.precision.FLOAT16}


def export(
    programs: Sequence[Program],
    destination: Path,
    *,
    precision: Precision = "fp16",
    calibration: Calibration | None = None,
) -> Artifact:
    """Export `programs` as methods of one .pte, each whole on Core ML (iOS 18); see `exporters.Exporter`.

    Raises:
        InputError: a precision other than fp32 and fp16, a program that can't be exported.
        VerificationError: an operator is off the delegate.
    """
    if precision not in PRECISIONS:
        raise InputError(f"the ExecuTorch Core ML exporter offers {', '.join(PRECISIONS)}, not {precision!r}")
    check_programs(programs)
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    graphs = {
        program.name: torch.export.export(
            canonical(program, COREML_REWRITES), program.example_inputs(), strict=False
        ).run_decompositions({})
        for program in programs
    }
    settings = CoreMLBackend.generate_compile_specs(
        minimum_deployment_target=ct.target.iOS18, compute_precision=PRECISIONS[precision]
    )
    lowered = to_edge_transform_and_lower(
        graphs, partitioner={name: [CoreMLPartitioner(compile_specs=settings)] for name in graphs}
    )
    entries = tuple(describe(program, lowered, "Core ML", ()) for program in programs)
    return write_program(lowered, entries, destination, "executorch-coreml", precision)
