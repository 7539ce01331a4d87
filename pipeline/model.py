"""The multi-exit network: backbone blocks between exits, and several heads at every exit."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import cast

import msgspec
import torch
from torch import Tensor, nn

from device_profiler.errors import InputError
from pipeline.backbones import (
    Backbone,
    Size,
    build_backbone,
    check_size,
    count_macs,
    outline_backbone,
    place_exits,
)
from pipeline.head_space import ORIGINAL, parse_head, select_heads
from pipeline.heads import build_head
from pipeline.policy_name import DEFAULT_POLICY, parse_policy


class ModelSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that fixes the structure of a `MultiExitModel`; weights and exit policy stand elsewhere.

    `size` is (height, width) in pixels; `exits` are the backbone units whose outputs are exits, in depth order;
    `heads` names the head architectures by exit; `reference` is (exit, head) of the full network, the distillation
    teacher.
    """

    backbone: str
    output_stride: int
    size: Size
    classes: tuple[str, ...]
    exits: tuple[int, ...]
    heads: tuple[tuple[str, ...], ...]
    reference: tuple[int, int]

    @property
    def exit_names(self) -> tuple[str, ...]:
        """exit1, exit2 ... in depth order."""
        return tuple(f"exit{index + 1}" for index in range(len(self.exits)))

    @property
    def reference_head(self) -> str:
        """Name of the full network's head."""
        exit_index, head_index = self.reference
        return self.heads[exit_index][head_index]


def design_model(
    classes: Sequence[str],
    size: Size,
    *,
    backbone: str = "efficientnet_lite0",
    output_stride: int = 16,
    exits: int = 6,
    heads: Sequence[str] = ("lraspp-r1", "lraspp-r2", "fcn-r1", "fcn-r4"),
) -> ModelSpec:
    """A network with `exits` exits equidistant in multiply-adds at input `size`, each with all of `heads`.

    `heads` are names, wildcards or sets (`heads.select_heads`). The full network's head is the first of the last exit;
    a segmentation network brings its own, called `original`.

    Raises:
        InputError: unknown backbone or head, a size that is no multiple of 32, fewer than two classes, too many exits.
    """
    if len(classes) < 2:
        raise InputError(f"{len(classes)} class(es) given; segmentation needs at least 2")
    names = select_heads(heads)
    outline = outline_backbone(backbone, output_stride, size, len(classes))
    places = place_exits(outline.units, exits)
    last = names
    if outline.own_head:
        last = (ORIGINAL,) if outline.head_in_last_unit else (ORIGINAL, *names)
    return ModelSpec(
        backbone=backbone,
        output_stride=output_stride,
        size=size,
        classes=tuple(classes),
        exits=places,
        heads=(*(names,) * (len(places) - 1), last),
        reference=(len(places) - 1, 0),
    )


class MultiExitModel(nn.Module):
    """Backbone blocks and the heads at every exit.

    `blocks[k]` maps the features of exit k-1 (the image [N, 3, H, W] in 0..255 for k = 0) to those of exit k;
    `heads[k][name]` maps the features of exit k to logits [N, C, h, w].
    """

    blocks: nn.ModuleList
    heads: nn.ModuleList

    def __init__(self, spec: ModelSpec, backbone: Backbone) -> None:
        super().__init__()
        self.spec = spec
        starts = (0, *(unit + 1 for unit in spec.exits[:-1]))
        ranges = [backbone.units[start : end + 1] for start, end in zip(starts, spec.exits, strict=True)]
        self.blocks = nn.ModuleList(nn.Sequential(*part) for part in ranges)
        self.heads = nn.ModuleList()
        shape: tuple[int, ...] = (1, 3, *spec.size)
        shapes = []
        for block, names in zip(self.blocks, spec.heads, strict=True):
            _, shape = count_macs(block, shape)
            shapes.append(shape)
            self.heads.append(nn.ModuleDict({name: _make_head(spec, backbone, name, shape) for name in names}))
        self.feature_shapes = tuple(shapes)
        """Shape [1, C, h, w] of the features at every exit."""

    def head(self, exit_index: int, name: str) -> nn.Module:
        """The head called `name` at an exit (index from 0)."""
        return cast(nn.ModuleDict, self.heads[exit_index])[name]

    def exit_heads(self, exit_index: int) -> list[nn.Module]:
        """All heads of an exit, in the spec's order."""
        return [self.head(exit_index, name) for name in self.spec.heads[exit_index]]

    def keep_heads(self, spec: ModelSpec) -> None:
        """Drop the heads that `spec`, of the same backbone and exits, does not name."""
        for index, names in enumerate(spec.heads):
            for name in set(self.spec.heads[index]) - set(names):
                del cast(nn.ModuleDict, self.heads[index])[name]
        self.spec = spec

    @cached_property
    def cheapest(self) -> tuple[int, ...]:
        """Index of the head with the fewest multiply-adds at every exit."""
        return tuple(
            min(range(len(names)), key=lambda h: count_macs(self.head(e, names[h]), self.feature_shapes[e])[0])
            for e, names in enumerate(self.spec.heads)
        )

    def witness(self, exit_index: int) -> nn.Module | None:
        """The head that an exit's answer is compared with: the cheapest of the exit before; None at the first exit."""
        before = exit_index - 1
        return self.head(before, self.spec.heads[before][self.cheapest[before]]) if exit_index else None

    @property
    def reference(self) -> nn.Module:
        """The full network's head."""
        return self.head(self.spec.reference[0], self.spec.reference_head)

    def forward_features(self, image: Tensor) -> list[Tensor]:
        """Features at every exit of images [N, 3, H, W] in 0..255."""
        features = []
        for block in self.blocks:
            image = block(image)
            features.append(image)
        return features

    def forward(self, image: Tensor) -> list[list[Tensor]]:
        """Logits [N, C, h, w] by exit and head, in the spec's order, from one pass through the backbone."""
        features = self.forward_features(image)
        return [[head(x) for head in self.exit_heads(index)] for index, x in enumerate(features)]


def _make_head(spec: ModelSpec, backbone: Backbone, name: str, shape: Sequence[int]) -> nn.Module:
    """A head for features of `shape` [1, C, h, w]."""
    if name != ORIGINAL:
        stride = spec.size[0] // shape[2]
        return build_head(parse_head(name), shape[1], len(spec.classes), stride=stride, style=backbone.style)
    if backbone.head is None:
        raise InputError(f"{spec.backbone} has no head of its own: {ORIGINAL!r} can't stand among its heads")
    return backbone.head


def build_model(
    spec: ModelSpec, *, pretrained: bool = False, weights: Path | None = None, seed: int = 0
) -> MultiExitModel:
    """A network of this structure in eval mode; the same spec and seed give the same values.

    With `pretrained`, the backbone starts from its published weights, with `weights` from those of that file; without,
    profiling has all it needs in a second.

    Raises:
        InputError: the spec contradicts itself or names something unknown, or the weights don't fit.
    """
    check_spec(spec)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = build_backbone(
            spec.backbone, spec.output_stride, classes=len(spec.classes), weights=weights or pretrained
        )
        return MultiExitModel(spec, backbone).eval()


def check_spec(spec: ModelSpec) -> None:
    """Raise InputError where the spec contradicts itself."""
    check_size(spec.size)
    if not spec.exits or list(spec.exits) != sorted(set(spec.exits)):
        raise InputError(f"exits {spec.exits} must be block indices in increasing order")
    if len(spec.heads) != len(spec.exits) or not all(spec.heads):
        raise InputError(f"{len(spec.exits)} exits need as many lists of heads, none empty, but got {spec.heads}")
    exit_index, head_index = spec.reference
    if not (0 <= exit_index < len(spec.heads) and 0 <= head_index < len(spec.heads[exit_index])):
        raise InputError(f"reference {spec.reference} names no (exit, head) of this network")


class ModelCost(msgspec.Struct, frozen=True):
    """Multiply-adds of one image: `blocks[k]` is the backbone between exit k-1 and k, `heads[k][h]` a head alone.

    `witnesses[k]`: what the exit policy asks beside a head at exit k; 0 where it asks none.
    """

    blocks: tuple[int, ...]
    heads: tuple[tuple[int, ...], ...]
    witnesses: tuple[int, ...]

    def total(self, exit_index: int, head_index: int) -> int:
        """Multiply-adds of the single-exit network that ends in this head."""
        return sum(self.blocks[: exit_index + 1]) + self.heads[exit_index][head_index]

    def judged(self, last: int | None = None) -> tuple[tuple[int, ...], ...]:
        """Heads with their witnesses; at exit `last` an image leaves unjudged."""
        asked = [0 if e == last else more for e, more in enumerate(self.witnesses)]
        return tuple(tuple(own + more for own in row) for row, more in zip(self.heads, asked, strict=True))


def count_model(model: MultiExitModel, policy: str = DEFAULT_POLICY) -> ModelCost:
    """Multiply-adds of every block, head and witness of `policy` at the model's input size."""
    shapes = ((1, 3, *model.spec.size), *model.feature_shapes[:-1])
    blocks = tuple(count_macs(block, shape)[0] for block, shape in zip(model.blocks, shapes, strict=True))
    heads = tuple(
        tuple(count_macs(head, shape)[0] for head in model.exit_heads(index))
        for index, shape in enumerate(model.feature_shapes)
    )
    asked = parse_policy(policy).asks_witness
    return ModelCost(blocks, heads, (0, *(min(row) if asked else 0 for row in heads[:-1])))
