"""Keeps a backbone's features at an output stride: later strides become dilations, found by its graph."""

from typing import cast

from torch import fx, nn
from torch.nn.modules.pooling import _AvgPoolNd, _MaxPoolNd

from device_profiler.errors import InputError
from pipeline.backbones.padding import SameConv2d
from pipeline.backbones.tracing import PROBE, module_of, shape_of, trace_network
from pipeline.backbones.work import Size

_CHOICE = "give a larger output_stride in a preset (--preset FILE.toml), or choose another backbone"


def dilate(network: nn.Module, output_stride: int, title: str) -> None:
    """Change `network` in place: no convolution strides past `output_stride`, those behind are dilated instead.

    A convolution whose stride falls keeps the dilation of its input, as in torchvision's ResNets.

    Raises:
        InputError: a layer behind the output stride can't be dilated; the message names it.
    """
    graph_module = trace_network(network, title, whole=lambda module: isinstance(module, SameConv2d))
    for node in graph_module.graph.nodes:
        module = module_of(graph_module, node)
        if module is None:
            continue
        stride_before = _stride(node.all_input_nodes[0])
        if stride_before is None:
            continue
        if isinstance(module, nn.Conv2d):
            _dilate_convolution(module, stride_before, output_stride, f"{title}: {node.target}")
        elif isinstance(module, (_MaxPoolNd, _AvgPoolNd)) and _shrinks_past(node, stride_before, output_stride):
            raise InputError(
                f"{title}: the pooling {node.target} strides past output stride {output_stride} and can't be dilated; "
                f"{_CHOICE}"
            )


def _stride(node: fx.Node) -> int | None:
    """How many pixels of the image a position of this feature map stands for; None for anything else."""
    shape = shape_of(node)
    return PROBE // shape[2] if shape is not None and len(shape) == 4 and shape[2] > 1 else None


def _shrinks_past(node: fx.Node, before: int, output_stride: int) -> bool:
    after = _stride(node)
    return after is not None and after > before and after > output_stride


def _dilate_convolution(convolution: nn.Conv2d, before: int, output_stride: int, title: str) -> None:
    rate = max(1, before // output_stride)
    kernel, stride = cast(Size, convolution.kernel_size), cast(Size, convolution.stride)
    past = max(stride) > 1 and before * max(stride) > output_stride
    if max(kernel) == 1:
        convolution.stride = (1, 1) if past else stride
        return
    if rate == 1 and not past:
        return
    if isinstance(convolution.padding, str) or type(convolution).__name__ == "Conv2dSame" or kernel[0] % 2 == 0:
        raise InputError(f"{title} can't be dilated to output stride {output_stride}; {_CHOICE}")
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
