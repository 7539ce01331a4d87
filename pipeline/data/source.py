"""What a data source is: classes, and four splits of images with masks."""

import colorsys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from device_profiler.errors import InputError

Size = tuple[int, int]
"""Height and width in pixels."""

SplitName = Literal["train", "search", "certify", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = get_args(SplitName)
NO_LABEL = 255

Color = tuple[int, int, int]
Bytes = NDArray[np.uint8]


class ClassList(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Class names and RGB colours by class id, and the id in masks that is no class and never counts."""

    names: tuple[str, ...]
    colors: tuple[Color, ...]
    ignore: int = NO_LABEL

    def __len__(self) -> int:
        return len(self.names)


class DataAmounts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many images a composed source (`sample`, `shapes`) makes for each split."""

    train: int
    search: int
    certify: int
    test: int

    def of(self, split: SplitName) -> int:
        """Images of one split."""
        return {"train": self.train, "search": self.search, "certify": self.certify, "test": self.test}[split]


@dataclass(frozen=True, eq=False)
class Sample:
    """One image, uint8 RGB [H, W, 3], with its mask, uint8 class ids [H, W]."""

    id: str
    image: Bytes
    mask: Bytes


@dataclass(frozen=True, eq=False)
class Split:
    """Images uint8 [N, H, W, 3] and masks uint8 [N, H, W] with their ids; the arrays may lie on disk."""

    name: SplitName
    ids: tuple[str, ...]
    images: Bytes
    masks: Bytes

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        return Sample(self.ids[index], np.asarray(self.images[index]), np.asarray(self.masks[index]))

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))


@dataclass(frozen=True, eq=False)
class DataSource:
    """A source as the user named it, loaded at one size.

    `rule` says in a sentence how the splits were cut; `fingerprint` changes whenever any pixel, mask or split does.
    Masks have that size too, unless `pipeline.data.common_grid` gave search, certify and test those of another.
    """

    spec: str
    classes: ClassList
    size: Size
    train: Split
    search: Split
    certify: Split
    test: Split
    rule: str
    fingerprint: str

    @property
    def label_size(self) -> Size:
        """At which labels of search, certify and test are compared (height, width)."""
        height, width = self.test.masks.shape[1:]
        return height, width

    def split(self, name: SplitName) -> Split:
        """The split called `name`."""
        splits = {split.name: split for split in (self.train, self.search, self.certify, self.test)}
        return splits[name]


def distinct_colors(count: int) -> tuple[Color, ...]:
    """`count` RGB colours that can be told apart: black, then hues a golden angle apart."""
    colors: list[Color] = [(0, 0, 0)]
    for index in range(1, count):
        rgb = colorsys.hsv_to_rgb(index * 0.381966 % 1.0, 0.85 - 0.35 * (index % 2), 1.0 - 0.25 * (index % 3 == 0))
        red, green, blue = (round(255 * value) for value in rgb)
        colors.append((red, green, blue))
    return tuple(colors[:count])


def default_size(aspect: float, area: int) -> Size:
    """Height and width near `area` pixels, multiples of 32, width / height near `aspect`."""
    candidates = [
        (h, w) for h in range(32, 2049, 32) for w in range(32, 2049, 32) if 0.8 * area <= h * w <= 1.25 * area
    ]
    if not candidates:
        raise InputError(f"no size near {area} pixels is a multiple of 32 by a multiple of 32; give --size HxW")

    def distance(size: Size) -> float:
        height, width = size
        return abs(float(np.log(width / height / aspect))) + 0.5 * abs(float(np.log(height * width / area)))

    return min(candidates, key=distance)
