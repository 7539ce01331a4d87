"""Keeps a backbone's features at an output stride: later strides become dilations, found by its graph."""

from collections import Counter
from typing import cast

from torch import fx, nn
from torch.nn.modules.pooling import _AvgPoolNd, _MaxPoolNd

from device_profiler.errors import InputError
from pipeline.backbones.padding import SameAverage, SameConv2d, replace_module
from pipeline.backbones.tracing import PROBE, module_of, shape_of, trace_network
from pipeline.backbones.work import GRID, Size

PADDED_BY_INPUT = ("Conv2dSame", "StdConv2dSame", "ScaledStdConv2dSame")
"""timm's convolutions that compute their padding at every call."""


def other_choice(output_stride: int) -> str:
    """What can be done about a network that does not serve at an output stride."""
    return "choose another backbone" + (
        ", or a larger output_stride in a preset (--preset FILE.toml)" if output_stride < GRID else ""
    )


def dilate(network: nn.Module, output_stride: int, title: str) -> None:
    """Change `network` in place: no convolution strides past `output_stride`, those behind are dilated instead.

    A convolution whose stride falls keeps the dilation of its input, as in torchvision's ResNets. The average pooling
    in a ResNet-D's shortcuts goes on by one position at a time, as in timm's.

    Raises:
        InputError: a layer behind the output stride can't be dilated; the message names it.
    """
    graph_module = trace_network(network, title, whole=lambda module: isinstance(module, SameConv2d))
    calls = Counter(node.target for node in graph_module.graph.nodes)
    for node in graph_module.graph.nodes:
        module = module_of(graph_module, node)
        if module is None:
            continue
        stride_before = _stride(node.all_input_nodes[0])
        if stride_before is None:
            continue
        if isinstance(module, nn.Conv2d):
            _dilate_convolution(module, stride_before, output_stride, f"{title}: {node.target}")
        elif _averages_pairs(module) and calls[node.target] == 1:
            _replace_average(network, node, stride_before, output_stride)
        elif isinstance(module, (_MaxPoolNd, _AvgPoolNd)) and _shrinks_past(node, stride_before, output_stride):
            raise InputError(
                f"{title}: the pooling {node.target} strides past output stride {output_stride} and can't be dilated; "
                f"{other_choice(output_stride)}"
            )


def _stride(node: fx.Node) -> int | None:
    """How many pixels of the image a position of this feature map stands for; None for anything else."""
    shape = shape_of(node)
    return PROBE // shape[2] if shape is not None and len(shape) == 4 and shape[2] > 1 else None


def _shrinks_past(node: fx.Node, before: int, output_stride: int) -> bool:
    after = _stride(node)
    return after is not None and after > before and after > output_stride


def _averages_pairs(pooling: nn.Module) -> bool:
    """Whether this is the pooling of a ResNet-D's shortcut, of 2x2 positions to one."""
    if not isinstance(pooling, nn.AvgPool2d) or not pooling.ceil_mode or pooling.count_include_pad:
        return False
    sizes = (pooling.kernel_size, pooling.stride, pooling.padding)
    return tuple(size if isinstance(size, int) else max(size) for size in sizes) == (2, 2, 0)


def _replace_average(network: nn.Module, node: fx.Node, before: int, output_stride: int) -> None:
    """Past the output stride, average without a stride; before it, without `ceil_mode`, which XNNPACK lacks.

    The latter where maps are even at every size that is taken, so that nothing changes.
    """
    shape = shape_of(node.all_input_nodes[0])
    if shape is not None and _shrinks_past(node, before, output_stride):
        replace_module(network, str(node.target), SameAverage(shape[1]))
    elif shape is not None and shape[2] * before == PROBE and GRID % (2 * before) == 0:
        replace_module(network, str(node.target), nn.AvgPool2d(2))


def _dilate_convolution(convolution: nn.Conv2d, before: int, output_stride: int, title: str) -> None:
    rate = max(1, before // output_stride)
    kernel, stride = cast(Size, convolution.kernel_size), cast(Size, convolution.stride)
    past = max(stride) > 1 and before * max(stride) > output_stride
    if max(kernel) == 1:
        convolution.stride = (1, 1) if past else stride
        return
    if rate == 1 and not past:
        return
    if isinstance(convolution.padding, str) or type(convolution).__name__ in PADDED_BY_INPUT or kernel[0] % 2 == 0:
        raise InputError(f"{title} can't be dilated to output stride {output_stride}; {other_choice(output_stride)}")
    dilation = cast(Size, convolution.dilation)
    grown = tuple(d * rate for d in dilation)
    if isinstance(convolution, SameConv2d):
        convolution.dilate((1, 1) if past else stride, cast(Size, grown))
        return
    padding = cast(Size, convolution.padding)
    convolution.padding = tuple(
        p + (g - d) * (k - 1) // 2 for p, g, d, k in zip(padding, grown, dilation, kernel, strict=True)
    )
    convolution.dilation = grown
    convolution.stride = (1, 1) if past else stride
