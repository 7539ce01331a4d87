"""`shapes`: drawn images of four kinds of figures on a textured ground; offline, learned in half a minute."""

import colorsys

import numpy as np
from numpy.typing import NDArray

from pipeline.data.source import SPLIT_NAMES, Bytes, ClassList, Size, SplitName

VERSION = 1
CLASSES = ClassList(
    names=("ground", "disc", "square", "triangle", "ring"),
    colors=((0, 0, 0), (220, 60, 60), (60, 120, 255), (60, 220, 60), (240, 220, 60)),
)
RULE = "every image drawn anew from its split and number"

Floats = NDArray[np.float64]


def draw(split: SplitName, index: int, size: Size) -> tuple[Bytes, Bytes]:
    """Image [H, W, 3] and mask [H, W] number `index` of a split; the same arguments give the same pixels."""
    rng = np.random.default_rng((VERSION, SPLIT_NAMES.index(split), index))
    image = _ground(rng, size)
    mask = np.zeros(size, np.uint8)
    for _ in range(int(rng.integers(1, 5))):
        kind = int(rng.integers(1, len(CLASSES)))
        inside = _figure(rng, kind, size)
        image[inside] = _figure_color(rng, kind) + rng.normal(0, 12, (int(inside.sum()), 3))
        mask[inside] = kind
    image += rng.normal(0, rng.uniform(2, 14), (*size, 1))
    return np.clip(image, 0, 255).astype(np.uint8), mask


def _ground(rng: np.random.Generator, size: Size) -> Floats:
    rows, columns = np.mgrid[0 : 1 : size[0] * 1j, 0 : 1 : size[1] * 1j]
    angle = rng.uniform(0, 2 * np.pi)
    slope = rows * np.sin(angle) + columns * np.cos(angle)
    stripes = np.sin(2 * np.pi * rng.uniform(1, 6) * slope + rng.uniform(0, 6))
    low, high = rng.uniform(20, 235, (2, 3))
    weight = (0.5 + 0.35 * slope + 0.15 * stripes)[..., None]
    ground: Floats = low * (1 - weight) + high * weight
    return ground


def _figure_color(rng: np.random.Generator, kind: int) -> Floats:
    """Kinds lean towards a hue, widely enough that hue alone does not tell them apart."""
    hue = (kind / 4 + rng.normal(0, 0.09)) % 1.0
    return 255 * np.array(colorsys.hsv_to_rgb(hue, rng.uniform(0.4, 1.0), rng.uniform(0.5, 1.0)))


def _figure(rng: np.random.Generator, kind: int, size: Size) -> NDArray[np.bool_]:
    scale = min(size)
    rows, columns = np.mgrid[0 : size[0], 0 : size[1]].astype(np.float64)
    radius = scale * rng.uniform(0.14, 0.34)
    y, x = rows - rng.uniform(0, size[0]), columns - rng.uniform(0, size[1])
    angle = rng.uniform(0, 2 * np.pi)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    distance = np.hypot(u, v)
    inside: dict[int, NDArray[np.bool_]] = {
        1: distance < radius,
        2: np.maximum(abs(u), abs(v)) < 0.85 * radius,
        3: np.maximum(-v, 0.5 * v + 0.866 * abs(u)) < 0.6 * radius,
        4: (distance < radius) & (distance > 0.55 * radius),
    }
    return inside[kind]
