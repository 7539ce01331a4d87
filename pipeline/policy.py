"""The exit policy's confidence and the finish: the two small computations that follow a head."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.policy_name import DEFAULT_POLICY, SPACING, TOP, parse_policy

PATCH = 4
"""Side of a patch in positions of the logits."""
_ROUNDS, _FANOUT = 6, 8


class Confidence(nn.Module):
    """Logits [N, C, h, w] to one confidence an image, [N] in 0..1. It leaves at an exit iff that reaches the threshold.

    Of the top-1 softmax probability of its pixels: `mean`; `share:T`, the share of pixels that reach T (MESS, arXiv
    2106.03527); `median`; `quantile:Q`, the value below which a share Q of the pixels lies; `patch:Q`, that quantile of
    the means of 4x4 patches, which finds one hard region. `margin-` in front of one of these takes a pixel's lead of
    the first class over the second instead, `entropy-` 1 minus its entropy over that of a uniform guess; `margin` and
    `entropy` alone are their means. With `+edges[:N]`, pixels beside another label take the median of their
    neighbourhood first. `agreement` asks a witness (the function of that name).

    Softmax stays along dimension 1: moved to the last dimension, one runtime returns wrong values without a word.

    Raises:
        InputError: `policy` is none of these.
    """

    def __init__(self, policy: str = DEFAULT_POLICY) -> None:
        super().__init__()
        self.policy = policy
        self.parsed = parse_policy(policy)

    def forward(self, logits: Tensor, witness: Tensor | None = None) -> Tensor:
        if self.parsed.asks_witness:
            return agreement(logits, witness)
        pixels = MEASURES[self.parsed.measure](torch.softmax(logits, dim=1))
        if self.parsed.spacing:
            pixels = enhance_edges(pixels, logits, self.parsed.spacing)
        return REDUCTIONS[self.parsed.reduction](pixels, self.parsed.parameter)


def agreement(logits: Tensor, witness: Tensor | None) -> Tensor:
    """Share of positions, [N] in 0..1, at which logits [N, C, h, w] and those of a witness have the same best class.

    The witness stands at an earlier exit, so its logits [N, C, h', w'] are as fine or finer: they are compared on its
    grid. Without one, at the first exit, nothing agrees: 0.
    """
    if witness is not None and witness.shape != logits.shape:
        logits = enlarge(logits, (witness.shape[2], witness.shape[3]))
    differ = _labels(logits) != (-1.0 if witness is None else _labels(witness))
    return 1.0 - differ.to(torch.float32).mean(dim=(1, 2, 3))


def _labels(logits: Tensor) -> Tensor:
    """The best class of every position, float32 [N, 1, h, w]: delegates compare floats."""
    return logits.argmax(dim=1, keepdim=True).to(torch.float32)


def _top(probability: Tensor) -> Tensor:
    return probability.amax(dim=1)


def _margin(probability: Tensor) -> Tensor:
    """First minus second probability; the second is the largest of what is not the first."""
    top = probability.amax(dim=1, keepdim=True)
    others = torch.where(probability >= top, torch.zeros_like(probability), probability)
    return (top - others.amax(dim=1, keepdim=True)).squeeze(1)


def _certainty(probability: Tensor) -> Tensor:
    """1 - H(p) / log(C) of every pixel."""
    entropy = -(probability * torch.log(probability.clamp(min=1e-7))).sum(dim=1)
    return 1.0 - entropy * (1.0 / float(torch.log(torch.tensor(float(probability.shape[1])))))


def _mean(pixels: Tensor, parameter: float) -> Tensor:
    return pixels.mean(dim=(1, 2))


def _share(pixels: Tensor, parameter: float) -> Tensor:
    return (pixels >= parameter).to(torch.float32).mean(dim=(1, 2))


def _quantile(pixels: Tensor, parameter: float) -> Tensor:
    """The smallest value that more than a share `parameter` of the pixels does not exceed.

    Found by counting below ever finer bounds over 0..1, for no phone's delegate sorts. Two pixels closer together than
    _FANOUT ** -_ROUNDS count as one.
    """
    values = pixels.flatten(1)  # [N, pixels]
    rank = float(int(parameter * values.shape[1]))
    low, step = torch.zeros_like(values[:, :1]), 1.0
    for _ in range(_ROUNDS):
        step /= _FANOUT
        bounds = low + torch.tensor([step * n for n in range(_FANOUT)])  # [N, bounds]
        below = (values.unsqueeze(1) < bounds.unsqueeze(2)).to(torch.float32).sum(dim=2)
        low = low + step * ((below <= rank).to(torch.float32).sum(dim=1, keepdim=True) - 1.0)
    return torch.where(values >= low, values, torch.full_like(values, 2.0)).amin(dim=1)


def _median(pixels: Tensor, parameter: float) -> Tensor:
    return _quantile(pixels, 0.5)


def _patch(pixels: Tensor, parameter: float) -> Tensor:
    side = min(PATCH, *pixels.shape[1:])
    means = functional.avg_pool2d(pixels.unsqueeze(1), side, stride=max(1, side // 2))
    return _quantile(means.squeeze(1), parameter)


MEASURES: Mapping[str, Callable[[Tensor], Tensor]] = {TOP: _top, "margin": _margin, "entropy": _certainty}
"""Probabilities [N, C, h, w] to a confidence of each pixel, [N, h, w] in 0..1."""
REDUCTIONS: Mapping[str, Callable[[Tensor, float], Tensor]] = {
    "mean": _mean,
    "median": _median,
    "share": _share,
    "quantile": _quantile,
    "patch": _patch,
}

def enhance_edges(pixels: Tensor, logits: Tensor, spacing: int = SPACING) -> Tensor:
    """Confidences [N, h, w] where those on edges of the label map of `logits` are the median of their neighbourhood.

    Pixels on edges are unsure only because of down- and upsampling (MESS). The neighbourhood, three by three positions
    `spacing` apart, and the edge are counted in positions of the logits, so that both grow with the output stride. The
    median is a network of minima and maxima: delegates have those, and none has sorting.
    """
    maps = pixels.unsqueeze(1)
    height, width = pixels.shape[1:]
    padded = _repeated(_repeated(maps, 2, spacing), 3, spacing)
    offsets = (0, spacing, 2 * spacing)
    window = [padded[:, :, y : y + height, x : x + width] for y in offsets for x in offsets]
    return torch.where(_edges(logits), _median_of_nine(window), maps).squeeze(1)


def _repeated(maps: Tensor, dimension: int, count: int) -> Tensor:
    """`count` more positions at both ends of `dimension`, like the outermost: by slices, for padding would gather."""
    first, last = maps.narrow(dimension, 0, 1), maps.narrow(dimension, maps.shape[dimension] - 1, 1)
    return torch.cat([*[first] * count, maps, *[last] * count], dim=dimension)


def _edges(logits: Tensor) -> Tensor:
    """Whether any of a position's neighbours has another label, bool [N, 1, h, w]."""
    labels = _labels(logits)
    return _of_three_by_three(labels, torch.maximum) != _of_three_by_three(labels, torch.minimum)


def _of_three_by_three(maps: Tensor, of_two: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """`of_two` over each position and its neighbours: pooling by operators that every runtime has."""
    for dimension in (2, 3):
        padded, length = _repeated(maps, dimension, 1), maps.shape[dimension]
        before, after = padded.narrow(dimension, 0, length), padded.narrow(dimension, 2, length)
        maps = of_two(of_two(before, maps), after)
    return maps


_EXCHANGES = (
    *((0, 1), (3, 4), (6, 7), (1, 2), (4, 5), (7, 8), (0, 1), (3, 4), (6, 7)),
    *((0, 3), (5, 8), (4, 7), (3, 6), (1, 4), (2, 5), (4, 7), (4, 2), (6, 4), (4, 2)),
)
"""Paeth's median of nine (Graphics Gems, 1990): after these exchanges the median stands in the middle."""


def _median_of_nine(window: Sequence[Tensor]) -> Tensor:
    values = list(window)
    for low, high in _EXCHANGES:
        values[low], values[high] = torch.minimum(values[low], values[high]), torch.maximum(values[low], values[high])
    return values[4]


class Finish(nn.Module):
    """Logits [N, C, h, w] to labels int32 [N, H, W] at the input's size: bilinear enlargement, then the best class."""

    def __init__(self, size: Sequence[int]) -> None:
        super().__init__()
        self.size = (int(size[0]), int(size[1]))

    def forward(self, logits: Tensor) -> Tensor:
        return enlarge(logits, self.size).argmax(dim=1).to(torch.int32)


def enlarge(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Logits at `size` (height, width), bilinear with pixel centres (align_corners=False)."""
    return functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)
