"""Post-training quantisation of a canonical graph by torchao's PT2E flow: observe real inputs, then convert."""

from collections.abc import Sequence

import torch
from torch import fx
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchao.quantization.pt2e.quantizer import Quantizer

from device_profiler.errors import InputError
from device_profiler.workload import Array
from mobile_export.exporters import Calibration
from mobile_export.program import Program


def calibrated(
    program: Program, graph_module: fx.GraphModule, quantizer: Quantizer, calibration: Calibration | None
) -> fx.GraphModule:
    """`graph_module` with quantise and dequantise operators around what `quantizer` annotates.

    Observers see every sample of `calibration[program.name]`, in float32: what is measured is the network as trained.

    Raises:
        InputError: no calibration samples for this program.
    """
    samples = samples_of(program, calibration)
    exported = torch.export.export(graph_module, program.example_inputs(), strict=False).module(check_guards=False)
    prepared = prepare_pt2e(exported, quantizer)
    with torch.no_grad():
        for sample in samples:
            prepared(*[torch.from_numpy(array) for array in sample])
    converted = convert_pt2e(prepared)
    assert isinstance(converted, fx.GraphModule)
    return converted


def samples_of(program: Program, calibration: Calibration | None) -> Sequence[tuple[Array, ...]]:
    """The calibration inputs of one program.

    Raises:
        InputError: there are none.
    """
    samples = (calibration or {}).get(program.name, ())
    if not samples:
        raise InputError(f"int8 needs calibration inputs from real images, but there are none for {program.name}")
    return samples
