"""Post-training int8 of a LiteRT file: ranges from real inputs, equal parameters on both sides of every hand-over."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ai_edge_quantizer import calibrator, qtyping, quantizer, recipe
from ai_edge_quantizer.algorithm_manager import AlgorithmName
from ai_edge_quantizer.recipe_manager import RecipeManager
from ai_edge_quantizer.utils import qsv_utils

from device_profiler.errors import InputError
from device_profiler.workload import Array
from mobile_export.handover import handovers
from mobile_export.tflite_graph import Convolution, TfliteGraph
from mobile_export.tflite_integer import keep_integer
from mobile_export.tflite_outputs import settle_outputs

IMAGE_INPUT = "image"
"""An input of this name is an RGB image in 0..255: it is stored as value - 128, exactly."""
CONFIDENCE_OUTPUT = "confidence"
"""An output of this name lies in 0..1: it is stored in steps of 1/255, whatever the samples reach."""
BIAS_LIMIT = 2.0**30
"""Quantised biases stay below this, half of what int32 holds, so that the sum they start has room too."""

CONVOLUTIONS = (qtyping.TFLOperationName.CONV_2D, qtyping.TFLOperationName.DEPTHWISE_CONV_2D)

Ranges = dict[str, dict[str, Any]]


def quantize(
    content: bytes,
    input_names: Mapping[str, tuple[str, ...]],
    output_names: Mapping[str, tuple[str, ...]],
    calibration: Mapping[str, Sequence[tuple[Array, ...]]],
    float_tensors: Sequence[str] = (),
) -> bytes:
    """`content`, a float .tflite, with int8 weights (per channel), activations, inputs and outputs.

    `input_names`, `output_names`: per signature, the program's names of them. `calibration`: per signature, float32
    inputs in the file's layout (NHWC). Ranges are the minimum and maximum over all samples: a moving average, the
    library's default, would clip what varies from image to image to its average. `float_tensors`: unique names of what
    convolutions make that are to stay in floating point.

    Raises:
        InputError: a signature without calibration samples.
    """
    missing = sorted(set(input_names) - {name for name, samples in calibration.items() if samples})
    if missing:
        raise InputError(f"int8 needs calibration inputs from real images, but there are none for {', '.join(missing)}")
    samples = {name: [_named(sample) for sample in calibration[name]] for name in input_names}
    ranges = _measure(content, samples)
    graph = TfliteGraph(content)
    _fix_images(content, graph, input_names, samples, ranges)
    _fix_handovers(graph, samples, ranges)
    _fix_confidences(graph, output_names, ranges)
    _fit_biases(graph, ranges)
    tails = [name for signature in input_names for name in graph.confidence_tail(signature)]
    instructions = _instructions(float_tensors, tails)
    result = quantizer.Quantizer(content, instructions).quantize(ranges, enable_progress_report=False)
    assert result.quantized_model is not None
    quantized = bytes(result.quantized_model)
    return keep_integer(settle_outputs(content, quantized) if float_tensors else quantized)


def _instructions(float_tensors: Sequence[str], tails: Sequence[str]) -> Any:
    """The recipe: everything in int8, but the convolutions that make `float_tensors` and whatever makes `tails`."""
    manager = RecipeManager()
    manager.load_quantization_recipe(recipe.static_wi8_ai8())
    for name in float_tensors:
        for kind in CONVOLUTIONS:
            manager.add_quantization_config(f"^{re.escape(name)};$", kind, algorithm_key=AlgorithmName.NO_QUANTIZE)
    for name in tails:
        manager.add_quantization_config(
            f"^{re.escape(name)};$", qtyping.TFLOperationName.ALL_SUPPORTED, algorithm_key=AlgorithmName.NO_QUANTIZE
        )
    return manager.get_quantization_recipe()


def _named(sample: tuple[Array, ...]) -> dict[str, Array]:
    return {f"args_{index}": array for index, array in enumerate(sample)}


def _measure(content: bytes, samples: Mapping[str, list[dict[str, Array]]]) -> Ranges:
    instructions = RecipeManager()
    instructions.load_quantization_recipe(recipe.static_wi8_ai8())
    observer = calibrator.Calibrator(
        content,
        num_threads=1,
        mode=calibrator.CalibrationMode.CALIBRATION_PRESERVE_ALL_TENSORS,
        qsv_update_func=qsv_utils.min_max_update,
    )
    observer.calibrate(samples, instructions)
    return dict(observer.get_model_qsvs())


def _fix_images(
    content: bytes,
    graph: TfliteGraph,
    input_names: Mapping[str, tuple[str, ...]],
    samples: Mapping[str, list[dict[str, Array]]],
    ranges: Ranges,
) -> None:
    """An image's range is 0..255 whatever the samples hold, and so is that of its normalised form, made first."""
    for signature, names in input_names.items():
        if names != (IMAGE_INPUT,):
            continue
        shape = samples[signature][0]["args_0"].shape
        extremes: list[dict[str, Array]] = [{"args_0": np.full(shape, value, np.float32)} for value in (0.0, 255.0)]
        reached = _measure(content, {signature: extremes})
        normalised = graph.first_output(signature)
        ranges[normalised] = reached[normalised]
        ranges[graph.tensor_name(signature, input=0)] = _range(0.0, 255.0)


def _fix_handovers(graph: TfliteGraph, samples: Mapping[str, list[dict[str, Array]]], ranges: Ranges) -> None:
    """What is handed on takes the range of what its consumers were calibrated with, on both sides."""
    groups: dict[str, list[tuple[str, Array]]] = {}
    for handover in handovers(tuple(samples)):
        producer = graph.tensor_name(handover.producer, output=handover.output)
        consumer = graph.tensor_name(handover.consumer, input=handover.input)
        values = [sample[f"args_{handover.input}"] for sample in samples[handover.consumer]]
        groups.setdefault(producer, []).append((consumer, np.stack(values)))
    for producer, consumers in groups.items():
        lowest = min(float(values.min()) for _, values in consumers)
        highest = max(float(values.max()) for _, values in consumers)
        for tensor in (producer, *(consumer for consumer, _ in consumers)):
            ranges[tensor] = _range(lowest, highest)


def _fix_confidences(graph: TfliteGraph, output_names: Mapping[str, tuple[str, ...]], ranges: Ranges) -> None:
    """Confidences are in 0..1; the maximum of a softmax keeps the softmax's own scale, 1/256, which is fixed."""
    for signature, names in output_names.items():
        for index, name in enumerate(names):
            if name == CONFIDENCE_OUTPUT:
                ranges[graph.tensor_name(signature, output=index)] = _range(0.0, 1.0)
    for tensor in graph.outputs_of("REDUCE_MAX", behind="SOFTMAX"):
        ranges[tensor] = _range(0.0, 255 / 256)


def _fit_biases(graph: TfliteGraph, ranges: Ranges) -> None:
    """Widen the weight range of channels whose bias would not fit into int32.

    A bias is stored in steps of input scale x weight scale. Training leaves channels with weights of 1e-8 and a bias
    of 1: their step is so small that the bias overflows and the channel turns into noise.
    """
    shared: dict[int, Array] = {}
    found = list(graph.convolutions())
    for convolution in found:
        needed = _needed_weight_range(convolution, ranges)
        shared[convolution.buffer] = np.maximum(shared.get(convolution.buffer, needed), needed)
    for convolution in found:
        others = tuple(axis for axis in range(4) if axis != convolution.channel_axis)
        actual = np.abs(convolution.weights).max(axis=others, keepdims=True)
        widened = np.maximum(actual, shared[convolution.buffer].reshape(actual.shape)).astype(np.float32)
        if (widened > actual).any():
            ranges[convolution.weight] = {"min": -widened, "max": widened}


def _needed_weight_range(convolution: Convolution, ranges: Ranges) -> Array:
    """Per channel, the least largest weight with which the quantised bias stays below BIAS_LIMIT."""
    source = ranges[convolution.source]
    input_scale = (max(float(np.max(source["max"])), 0.0) - min(float(np.min(source["min"])), 0.0)) / 255
    return np.abs(convolution.bias) * 127 / (max(input_scale, 1e-9) * BIAS_LIMIT)


def _range(lowest: float, highest: float) -> dict[str, Any]:
    return {"min": np.array([lowest], np.float32), "max": np.array([highest], np.float32)}
