"""ExecuTorch export for the NPU of Qualcomm's chips: the QNN delegate, int8 or fp16, for one chip at a time."""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import fx

from device_profiler.errors import InputError
from device_profiler.targets import Precision, Runtime
from mobile_export import qnn_sdk
from mobile_export.artifact import Artifact
from mobile_export.canonical import canonical
from mobile_export.canonical_qnn import QNN_REWRITES
from mobile_export.executorch_graph import describe, write_program
from mobile_export.exporters import Calibration, check_programs
from mobile_export.program import Program
from mobile_export.pt2e import calibrated

LEAST_WEIGHT_STEP = 2.0**-16
"""Least step of a channel's weights: a dead channel's own would be so small that its bias overflows."""


def export(
    programs: Sequence[Program],
    destination: Path,
    *,
    precision: Precision = "int8",
    calibration: Calibration | None = None,
    runtime: Runtime,
    chip: str,
) -> Artifact:
    """Export `programs` as methods of one .pte for the HTP of `chip` ("SM8550"); see `exporters.Exporter`.

    Runs in a worker: it loads Qualcomm's libraries into the process. Weights are not shared between methods: files that
    share them load on a phone alone and could not be checked here.

    Raises:
        InputError: Qualcomm's libraries are absent, a precision other than int8 and fp16, int8 without calibration.
        VerificationError: an operator is off the delegate.
    """
    if precision not in ("int8", "fp16"):
        raise InputError(f"the ExecuTorch QNN exporter offers int8 and fp16, not {precision!r}")
    check_programs(programs)
    qnn_sdk.load()
    logging.disable(logging.WARNING)
    from executorch.backends.qualcomm.serialization.qc_schema import QcomChipset
    from executorch.backends.qualcomm.utils import utils

    graphs = {program.name: _graph(program, precision, calibration, QcomChipset[chip]) for program in programs}
    options = utils.generate_htp_compiler_spec(use_fp16=precision == "fp16")
    settings = utils.generate_qnn_executorch_compiler_spec(soc_model=QcomChipset[chip], backend_options=options)
    lowered = utils.to_edge_transform_and_lower_to_qnn(
        graphs,
        {program.name: program.example_inputs() for program in programs},
        dict.fromkeys(graphs, settings),
    )
    entries = tuple(describe(program, lowered, "QNN", ()) for program in programs)
    return write_program(lowered, entries, destination, runtime, precision)


def _graph(program: Program, precision: Precision, calibration: Calibration | None, chip: Any) -> fx.GraphModule:
    graph_module = canonical(program, QNN_REWRITES)
    return calibrated(program, graph_module, _quantizer(chip), calibration) if precision == "int8" else graph_module


def _quantizer(chip: Any) -> Any:
    from executorch.backends.qualcomm.quantizer.quantizer import QnnQuantizer, QuantDtype
    from executorch.backends.qualcomm.serialization.qc_schema import QnnExecuTorchBackendType
    from torchao.quantization.pt2e import MinMaxObserver

    quantizer = QnnQuantizer(backend=QnnExecuTorchBackendType.kHtpBackend, soc_model=chip)
    quantizer.set_default_quant_config(
        quant_dtype=QuantDtype.use_8a8w,
        is_conv_per_channel=True,
        is_linear_per_channel=True,
        act_observer=MinMaxObserver,
        eps=LEAST_WEIGHT_STEP,
    )
    return quantizer


export_sm8550 = partial(export, runtime="executorch-qnn-sm8550", chip="SM8550")
export_sm8650 = partial(export, runtime="executorch-qnn-sm8650", chip="SM8650")
