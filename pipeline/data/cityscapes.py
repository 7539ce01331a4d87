"""`cityscapes:PATH`: Cityscapes as it is published: leftImg8bit and gtFine, its 19 training classes."""

from pathlib import Path

import numpy as np

from device_profiler.errors import InputError
from pipeline.data.folder import FolderSource, Pair, assign_splits, read_mask
from pipeline.data.source import NO_LABEL, Bytes, ClassList

CITYSCAPES_CLASSES = ClassList(
    names=(
        *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation"),
        *("terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"),
    ),
    colors=(
        *((128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153)),
        *((250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60)),
        *((255, 0, 0), (0, 0, 142), (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32)),
    ),
)
"""Names and colours of cityscapesScripts' labels.py, by training id."""
LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The label id of each training id; every other label is ignored."""
HIGHEST_LABEL = 33
IMAGE, TRAIN_IDS, LABELS = "_leftImg8bit.png", "_gtFine_labelTrainIds.png", "_gtFine_labelIds.png"


def open_cityscapes(root: Path) -> FolderSource:
    """The fine annotations of a Cityscapes folder; masks of label ids or, where they lie there, of training ids.

    The published test masks are empty, so test is the validation split, as everywhere without one.

    Raises:
        InputError: no such layout, or an image without a mask.
    """
    images = root / "leftImg8bit"
    if not images.is_dir() or not (root / "gtFine").is_dir():
        raise InputError(f"no Cityscapes at {root}: --data cityscapes:PATH needs a folder with leftImg8bit and gtFine")
    given = {name: _pairs(root, name) for name in ("train", "val")}
    splits, rule = assign_splits({name: pairs for name, pairs in given.items() if pairs}, root)
    return FolderSource(root, CITYSCAPES_CLASSES, splits, rule, training_ids)


def _pairs(root: Path, split: str) -> tuple[Pair, ...]:
    pairs = []
    for image in sorted((root / "leftImg8bit" / split).glob(f"*/*{IMAGE}")):
        stem = image.name.removesuffix(IMAGE)
        folder = root / "gtFine" / split / image.parent.name
        masks = [folder / f"{stem}{suffix}" for suffix in (TRAIN_IDS, LABELS)]
        found = next((mask for mask in masks if mask.is_file()), None)
        if found is None:
            raise InputError(f"image {image} has no mask: expected {masks[1]}")
        pairs.append(Pair(stem, image, found))
    return tuple(pairs)


def training_ids(pair: Pair) -> Bytes:
    """A pair's mask by training id.

    Raises:
        InputError: a label id that Cityscapes does not have.
    """
    mask = read_mask(pair.mask)
    if pair.mask.name.endswith(TRAIN_IDS):
        return mask
    if mask.max(initial=0) > HIGHEST_LABEL:
        raise InputError(f"mask {pair.mask} holds label id {mask.max()}: Cityscapes has 0 to {HIGHEST_LABEL}")
    table = np.full(HIGHEST_LABEL + 1, NO_LABEL, np.uint8)
    table[list(LABEL_IDS)] = np.arange(len(LABEL_IDS))
    return np.asarray(table[mask], np.uint8)
