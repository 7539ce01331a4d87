"""A network cut into units: modules in a chain, an exit possible after each, and the head that it came with."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import fx, nn

from device_profiler.errors import InputError
from pipeline.backbones.boundaries import Segment, find_blocks, segments
from pipeline.backbones.catalogue import Network, open_network
from pipeline.backbones.dilation import other_choice
from pipeline.backbones.style import BlockStyle, style_of
from pipeline.backbones.tracing import trace_network
from pipeline.backbones.weights import load_published_weights, load_weights, read_weights
from pipeline.backbones.work import Size, check_size, count_macs

Weights = Path | bool
"""A weight file, or whether to take the published weights."""


@dataclass(frozen=True, eq=False)
class Backbone:
    """A chain from an image [N, 3, H, W] in 0..255 to features; each of `units` maps one tensor to one tensor.

    `head` is the network's own, reading what the last unit gives; None where it has none. `style` says what the
    backbone's blocks are like.
    """

    units: tuple[nn.Module, ...]
    head: nn.Module | None
    style: BlockStyle


def build_backbone(name: str, output_stride: int, *, classes: int = 2, weights: Weights = False) -> Backbone:
    """The network called `name`, cut at its blocks.

    `classes` shapes the head of a segmentation network. Where such a head reads more than one tensor of its backbone,
    it belongs to the last unit, and `head` hands that on unchanged.

    Raises:
        InputError: unknown name, output stride not offered, weights that don't fit, a module that can't be traced or
            cut.
    """
    network = open_network(name, output_stride, classes)
    if isinstance(weights, Path):
        load_weights(network, read_weights(weights), str(weights))
    elif weights:
        load_published_weights(network)
    return cut_network(network)


def cut_network(network: Network) -> Backbone:
    """The units of a network: its own modules where a segment calls them in a chain, a traced graph elsewhere."""
    own_head = () if network.head is None else (network.head,)
    blocks = find_blocks(network.module, network.name, own_head)

    def whole(module: nn.Module) -> bool:
        return module in blocks.all or module in own_head

    graph_module = trace_network(network.module, network.name, whole)
    found = segments(graph_module, blocks, network.head)
    _check_called_once(graph_module, network.name)
    head = network.head
    if head is not None:
        if _is_call_of(graph_module, found[-1], head):
            found = found[:-1]
        else:
            head = nn.Identity()
    units = [_unit(graph_module, segment) for segment in found]
    return Backbone((_behind(network.normalize, units[0]), *units[1:]), head, style_of(units))


def _is_call_of(graph_module: fx.GraphModule, segment: Segment, module: nn.Module) -> bool:
    (node, *more) = segment.nodes
    return not more and node.op == "call_module" and graph_module.get_submodule(str(node.target)) is module


def _check_called_once(graph_module: fx.GraphModule, title: str) -> None:
    called = [str(node.target) for node in graph_module.graph.nodes if node.op == "call_module"]
    owned = [name for name in called if any(True for _ in graph_module.get_submodule(name).parameters())]
    twice = sorted({name for name in owned if owned.count(name) > 1})
    if twice:
        raise InputError(f"{title} calls {twice[0]} more than once; a backbone calls each module with weights once")


def _unit(graph_module: fx.GraphModule, segment: Segment) -> nn.Module:
    """The module that a segment is."""
    before, chain = segment.source, []
    for node in segment.nodes:
        if node.op != "call_module" or node.args != (before,) or node.kwargs:
            return _graph_unit(graph_module, segment)
        chain.append(graph_module.get_submodule(str(node.target)))
        before = node
    return chain[0] if len(chain) == 1 else nn.Sequential(*chain)


def _graph_unit(graph_module: fx.GraphModule, segment: Segment) -> nn.Module:
    graph = fx.Graph()
    copies = {segment.source: graph.placeholder("features")}
    for node in segment.nodes:
        for source in node.all_input_nodes:
            if source not in copies:  # a weight that the network's own forward reads
                copies[source] = graph.node_copy(source, lambda inner: copies[inner])
        copies[node] = graph.node_copy(node, lambda inner: copies[inner])
    graph.output(copies[segment.nodes[-1]])
    return fx.GraphModule(graph_module, graph, class_name="GraphUnit")


def _behind(normalize: nn.Module, first: nn.Module) -> nn.Sequential:
    return nn.Sequential(normalize, *(first if type(first) is nn.Sequential else [first]))


@dataclass(frozen=True)
class Outline:
    """A backbone as far as its design needs it: multiply-adds of every unit and of its own head, at one input size.

    `head_in_last_unit`: its own head reads more than one tensor, so no other head can stand at the last exit.
    """

    units: tuple[int, ...]
    head: int
    own_head: bool
    head_in_last_unit: bool


def _without_data(name: str, output_stride: int, classes: int) -> Backbone:
    """Built on the meta device, but where values are read while it is built: a user's factory may, RegNets do."""
    if ":" not in name:
        with suppress(NotImplementedError), torch.device("meta"):
            return build_backbone(name, output_stride, classes=classes)
    return build_backbone(name, output_stride, classes=classes)


def _check_features(name: str, output_stride: int, size: Size, shape: tuple[int, ...]) -> None:
    """Raises InputError for features that are no map [N, C, h, w] of the image at the output stride or finer."""
    rows, columns = (of_map / of_image for of_map, of_image in zip(shape[2:], size, strict=True))
    if max(rows, columns) > 1.25 * min(rows, columns) or max(rows, columns) * output_stride < 0.75:
        raise InputError(
            f"{name} gives features {list(shape)} of an image {size[0]}x{size[1]} (height x width): a map [N, C, h, w] "
            f"at output stride {output_stride} or finer is needed; {other_choice(output_stride)}"
        )


def outline_backbone(name: str, output_stride: int, size: Size, classes: int = 2) -> Outline:
    """The outline of the backbone `name` at an input of `size`; nothing is computed, no weights are needed.

    Raises:
        InputError: as `build_backbone`, or a size that is no multiple of 32.
    """
    check_size(size)
    backbone = _without_data(name, output_stride, classes)
    shape: tuple[int, ...] = (1, 3, *size)
    macs = []
    for unit in backbone.units:
        work, shape = count_macs(unit, shape)
        macs.append(work)
    _check_features(name, output_stride, size, shape)
    head = 0 if backbone.head is None else count_macs(backbone.head, shape)[0]
    return Outline(tuple(macs), head, backbone.head is not None, isinstance(backbone.head, nn.Identity))
