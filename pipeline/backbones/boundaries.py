"""Where a traced network can be cut: points that one tensor alone crosses, at the ends of its blocks."""

import operator
from dataclasses import dataclass

import torch
from torch import fx, nn
from torch.nn.modules.pooling import _AdaptiveAvgPoolNd

from device_profiler.errors import InputError
from pipeline.backbones.tracing import is_feature_map, module_of, owners, shape_of, trace_network

JOINS = (operator.add, operator.iadd, torch.add, torch.cat, torch.concat, torch.concatenate)
JOINING_METHODS = ("add", "add_")
WORKING = (nn.Conv2d, nn.Linear, nn.ConvTranspose2d)


@dataclass(frozen=True, eq=False)
class Blocks:
    """Modules of a network that are one step of it: `residual` join branches somewhere, `all` adds their siblings."""

    residual: frozenset[nn.Module]
    all: frozenset[nn.Module]


def find_blocks(network: nn.Module, title: str, whole: tuple[nn.Module, ...]) -> Blocks:
    """The blocks of a network: modules of a class in which branches join (a residual sum, a concatenation).

    Modules of other classes that lie beside them (the same container, the same depth) are blocks too: the first block
    of many networks has no residual. `whole` are not looked into.
    """
    graph_module = trace_network(network, title, whole=lambda module: module in whole)
    classes = set()
    for node in graph_module.graph.nodes:
        inside = list(owners(node)) if _joins(node) else []
        classes |= {inside[-1][1]} if inside else set()
    classes -= {type(network), nn.Sequential}
    residual = {name: module for name, module in network.named_modules() if type(module) in classes}
    places = {_place(name) for name in residual}
    beside = {module for name, module in network.named_modules() if _place(name) in places and _convolves(module)}
    return Blocks(frozenset(residual.values()), frozenset(residual.values()) | beside)


def _place(name: str) -> tuple[str, int]:
    """The outermost container of a module and how deep it lies."""
    return name.split(".")[0], name.count(".")


def _convolves(module: nn.Module) -> bool:
    return any(True for _ in module.children()) and any(isinstance(part, nn.Conv2d) for part in module.modules())


def _joins(node: fx.Node) -> bool:
    joining = (node.op == "call_function" and node.target in JOINS) or (
        node.op == "call_method" and node.target in JOINING_METHODS
    )
    return joining and sum(is_feature_map(source) for source in node.all_input_nodes) > 1


@dataclass(frozen=True, eq=False)
class Segment:
    """Neighbouring nodes between two cuts: `nodes` turn the tensor of `source` into that of the last node."""

    source: fx.Node
    nodes: tuple[fx.Node, ...]


def segments(graph_module: fx.GraphModule, blocks: Blocks, head: nn.Module | None) -> list[Segment]:
    """The graph cut before its first block and after each: the stem, then one block each.

    A block whose output is not all that goes on (a skip connection passes by) ends with the next one where it is. A
    network without blocks, a plain chain, is cut before every convolution. What lies behind the last block is a
    segment of its own in a network that gives features, and is left out in a classifier. `head` is a segment of its own
    where one tensor goes into it.

    Raises:
        InputError: there is no point to cut.
    """
    nodes = [node for node in graph_module.graph.nodes if node.op not in ("get_attr", "output")]
    cuts = _single_tensor_cuts(nodes)
    after = _after_blocks(graph_module, nodes, cuts, blocks)
    end_of_features = _end(graph_module, nodes, cuts, after)
    chosen = after or _before_convolutions(graph_module, nodes, cuts)
    chosen |= {index - 1 for index, node in enumerate(nodes) if head and module_of(graph_module, node) is head} & cuts
    chosen = {end for end in chosen if end <= end_of_features}
    found, source, start = [], nodes[0], 1
    for end in sorted(chosen | {end_of_features}):
        found.append(Segment(source, tuple(nodes[start : end + 1])))
        source, start = nodes[end], end + 1
    return found


def _single_tensor_cuts(nodes: list[fx.Node]) -> set[int]:
    """Positions behind which nothing but that node's feature map is used any more."""
    position = {node: index for index, node in enumerate(nodes)}
    end = len(nodes)
    last_use = [max([position.get(user, end) for user in node.users], default=0) for node in nodes]
    cuts, furthest = set(), -1
    for index, node in enumerate(nodes):
        if furthest <= index and is_feature_map(node) and index:
            cuts.add(index)
        furthest = max(furthest, last_use[index])
    return cuts


def _after_blocks(graph_module: fx.GraphModule, nodes: list[fx.Node], cuts: set[int], blocks: Blocks) -> set[int]:
    """Cuts behind every block up to the last residual one, and the cut before the first."""
    modules = [module_of(graph_module, node) for node in nodes]
    last = max((index for index, module in enumerate(modules) if module in blocks.residual), default=-1)
    found = [index for index, module in enumerate(modules[: last + 1]) if module in blocks.all]
    return ({*found} | {found[0] - 1}) & cuts if found else set()


def _before_convolutions(graph_module: fx.GraphModule, nodes: list[fx.Node], cuts: set[int]) -> set[int]:
    working = [index for index, node in enumerate(nodes) if isinstance(module_of(graph_module, node), WORKING)]
    return {index - 1 for index in working[1:] if index - 1 in cuts}


def _end(graph_module: fx.GraphModule, nodes: list[fx.Node], cuts: set[int], blocks: set[int]) -> int:
    """Where features end: the output where it is a feature map, else the last block, else the last map not pooled.

    Raises:
        InputError: the network has no feature map that all else comes from.
    """
    (output,) = (node for node in graph_module.graph.nodes if node.op == "output")
    final = output.args[0]
    if isinstance(final, fx.Node) and is_feature_map(final):
        return nodes.index(final)
    plain = [index for index in cuts if not _pooled(graph_module, nodes[index])]
    if not blocks and not plain:
        raise InputError(
            f"no point of the network is crossed by one feature map [N, C, h, w] alone (it gives {final}), so there is "
            "no place for exits: choose another backbone"
        )
    return max(blocks or plain)


def _pooled(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a feature map is of the classifier: by global pooling, or one position that is left of the image."""
    shape = shape_of(node)
    return isinstance(module_of(graph_module, node), _AdaptiveAvgPoolNd) or (shape is not None and shape[2:] == (1, 1))
