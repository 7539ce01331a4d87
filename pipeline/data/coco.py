"""`coco:PATH`: COCO's objects of PASCAL VOC's classes, rasterised from the instance annotations by pycocotools."""

import contextlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from device_profiler.errors import InputError
from device_profiler.files import sha256_path
from pipeline.data.folder import FolderSource, Pair, assign_splits
from pipeline.data.source import NO_LABEL, Bytes
from pipeline.data.voc import VOC_CLASSES

CATEGORIES = (0, 5, 2, 16, 9, 44, 6, 3, 17, 62, 21, 67, 18, 19, 4, 1, 64, 20, 63, 7, 72)
"""COCO's category of each VOC class (torchvision, references/segmentation/coco_utils.py); 0 is the background."""
LEAST_AREA = 1000
"""Training images need more annotated pixels than this, as torchvision's reference has it."""
YEAR = "2017"


@dataclass(frozen=True, eq=False)
class _Annotations:
    """One annotation file, read; `content` is its hash."""

    path: Path
    index: Any
    content: str

    @classmethod
    def open(cls, path: Path) -> "_Annotations":
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                index = COCO(str(path))
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AssertionError) as error:
            raise InputError(f"{path} holds no COCO instance annotations: {error}") from None
        return cls(path, index, sha256_path(path))

    def objects(self, image: int) -> list[Mapping[str, Any]]:
        """The objects of our classes in an image."""
        found = self.index.loadAnns(self.index.getAnnIds(imgIds=image))
        return [one for one in found if one["category_id"] in CATEGORIES[1:]]


def open_coco(root: Path) -> FolderSource:
    """A COCO folder: annotations/instances_{train,val}2017.json with train2017 and val2017.

    Overlaps of objects are ignored. Training images with at most LEAST_AREA annotated pixels are left out.

    Raises:
        InputError: no such layout, an unreadable annotation file, or an image that is listed but missing.
    """
    given, annotations = {}, {}
    for split in ("train", "val"):
        path = root / "annotations" / f"instances_{split}{YEAR}.json"
        if path.is_file():
            annotations[split] = _Annotations.open(path)
            given[split] = _pairs(root / f"{split}{YEAR}", annotations[split], least=LEAST_AREA * (split == "train"))
    if not given:
        raise InputError(
            f"no COCO at {root}: --data coco:PATH needs a folder with annotations/instances_train{YEAR}.json, "
            f"instances_val{YEAR}.json and the images in train{YEAR} and val{YEAR}"
        )
    splits, rule = assign_splits({name: pairs for name, pairs in given.items() if pairs}, root)
    by_file = {one.path: one for one in annotations.values()}
    left_out = f"; training images of more than {LEAST_AREA} annotated pixels"
    return FolderSource(
        root,
        VOC_CLASSES,
        splits,
        rule + left_out,
        mask_of=lambda pair: _rasterised(pair, by_file[pair.mask]),
        content_of=lambda pair: f"{pair.image.stat().st_size} {by_file[pair.mask].content}",
    )


def _pairs(folder: Path, annotations: _Annotations, least: int) -> tuple[Pair, ...]:
    """Image and annotation file of every image with enough to see."""
    pairs = []
    for image in sorted(annotations.index.getImgIds()):
        if least and sum(one["area"] for one in annotations.objects(image)) <= least:
            continue
        path = folder / annotations.index.imgs[image]["file_name"]
        if not path.is_file():
            raise InputError(f"{annotations.path} lists image {image}, but {path} is missing")
        pairs.append(Pair(str(image).zfill(12), path, annotations.path))
    return tuple(pairs)


def _rasterised(pair: Pair, annotations: _Annotations) -> Bytes:
    """Class ids uint8 [H, W] of one image.

    Raises:
        InputError: an object without a usable outline.
    """
    image = int(pair.id)
    size = annotations.index.imgs[image]["height"], annotations.index.imgs[image]["width"]
    label, covered = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
    for one in annotations.objects(image):
        try:
            outlines = coco_mask.decode(coco_mask.frPyObjects(one["segmentation"], *size))
        except Exception as error:  # noqa: BLE001 - pycocotools raises nothing more exact
            raise InputError(
                f"{annotations.path}: the segmentation of object {one['id']} of {pair.image.name} is neither polygons "
                f"nor run lengths: {error}"
            ) from None
        inside = outlines.reshape(*size, -1).any(axis=2)
        label[inside] = CATEGORIES.index(one["category_id"])
        covered[inside] += 1
    label[covered > 1] = NO_LABEL
    return label
