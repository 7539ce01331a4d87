"""`voc:PATH`: PASCAL VOC as it is published: JPEGImages, SegmentationClass and ImageSets/Segmentation."""

from pathlib import Path

from device_profiler.errors import InputError
from pipeline.data.folder import FolderSource, Pair, assign_splits
from pipeline.data.source import ClassList, distinct_colors

VOC_NAMES = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "dining table",
    "dog",
    "horse",
    "motorbike",
    "person",
    "potted plant",
    "sheep",
    "sofa",
    "train",
    "tv monitor",
)
VOC_CLASSES = ClassList(VOC_NAMES, distinct_colors(len(VOC_NAMES)))
"""20 classes and the background by PASCAL's ids; 255, the outline of every object, is ignored."""
LISTS = "ImageSets/Segmentation"


def open_voc(path: Path) -> FolderSource:
    """The segmentation part of a VOC folder: `path` is VOC2012, VOCdevkit or what holds it.

    Raises:
        InputError: no such layout, or a listed image or mask that is missing.
    """
    root = _find_root(path)
    given = {name: _listed(root, name) for name in ("train", "val") if (root / LISTS / f"{name}.txt").is_file()}
    splits, rule = assign_splits({name: pairs for name, pairs in given.items() if pairs}, root)
    return FolderSource(root, VOC_CLASSES, splits, rule)


def _find_root(path: Path) -> Path:
    for candidate in (path, *sorted(path.glob("VOC*")), *sorted(path.glob("VOCdevkit/VOC*"))):
        if (candidate / LISTS).is_dir():
            return candidate
    raise InputError(
        f"no PASCAL VOC at {path}: --data voc:PATH needs a folder with JPEGImages, SegmentationClass and {LISTS}"
    )


def _listed(root: Path, name: str) -> tuple[Pair, ...]:
    pairs = []
    source = root / LISTS / f"{name}.txt"
    for stem in source.read_text().split():
        pair = Pair(stem, root / "JPEGImages" / f"{stem}.jpg", root / "SegmentationClass" / f"{stem}.png")
        for file in (pair.image, pair.mask):
            if not file.is_file():
                raise InputError(f"{source} lists {stem}, but {file} is missing")
        pairs.append(pair)
    return tuple(pairs)
