"""`folder:PATH`: images and masks in folders, with an optional classes.toml."""

import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
from PIL import Image, UnidentifiedImageError

from device_profiler.errors import InputError
from device_profiler.files import sha256_bytes, sha256_path
from pipeline.data.cutting import RULE, TRAIN_BESIDE_TEST, TRAIN_ONLY, VALIDATION, cut
from pipeline.data.source import NO_LABEL, SPLIT_NAMES, Bytes, ClassList, Size, SplitName, distinct_colors

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
GIVEN_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
} | {
    "search": "search",
    "certify": "certify",
}
LAYOUTS = (
    "images/<split> + masks/<split>, <split>/images + <split>/masks, <split> + <split>annot, or images + masks; "
    "splits are train, val, test, search, certify"
)


@dataclass(frozen=True)
class Pair:
    """An image and its mask on disk."""

    id: str
    image: Path
    mask: Path


class _ClassFile(msgspec.Struct, forbid_unknown_fields=True):
    """classes.toml."""

    names: list[str]
    colors: list[tuple[int, int, int]] | None = None
    ignore: int = NO_LABEL


def fingerprint_files(pair: Pair) -> str:
    """The content of a pair's two files."""
    return f"{sha256_path(pair.image)} {sha256_path(pair.mask)}"


@dataclass(frozen=True)
class FolderSource:
    """A folder read as far as names, classes and splits go; no pixel of an image has been decoded.

    `mask_of` reads a pair's mask, `content_of` says what a pair holds without decoding it.
    """

    root: Path
    classes: ClassList
    splits: Mapping[SplitName, tuple[Pair, ...]]
    rule: str
    mask_of: Callable[[Pair], Bytes] = field(default=lambda pair: read_mask(pair.mask))
    content_of: Callable[[Pair], str] = fingerprint_files

    def fingerprint(self) -> str:
        """Changes with every file's content, the classes and the splits."""
        parts: list[bytes] = [msgspec.json.encode(self.classes)]
        for name in SPLIT_NAMES:
            parts.append(name.encode())
            parts += [f"{p.id} {self.content_of(p)}\n".encode() for p in self.splits[name]]
        return sha256_bytes(*parts)

    def aspect(self) -> float:
        """Width over height of the median image among the first few."""
        sizes = [_open(pair.image).size for pair in self.splits["train"][:15]]
        return float(np.median([width / height for width, height in sizes]))

    def read(self, pair: Pair, size: Size) -> tuple[Bytes, Bytes]:
        """Image [H, W, 3] and mask [H, W] of a pair at `size`, checked."""
        image = _decoded(pair.image, "RGB")
        mask = self.mask_of(pair)
        if image.size != (mask.shape[1], mask.shape[0]):
            width, height = image.size
            shape = f"{mask.shape[1]}x{mask.shape[0]}"
            raise InputError(
                f"mask {pair.mask} is {shape} but its image {pair.image.name} is {width}x{height}: equal sizes"
            )
        check_ids(mask, self.classes, pair.mask)
        small = Image.fromarray(mask).resize((size[1], size[0]), Image.Resampling.NEAREST)
        return resize_image(image, size), np.asarray(small)


def resize_image(image: Image.Image, size: Size) -> Bytes:
    """An image as the network takes it: RGB, bilinear with antialiasing to exactly (height, width), uint8 [H, W, 3]."""
    return np.asarray(image.convert("RGB").resize((size[1], size[0]), Image.Resampling.BILINEAR))


def open_image(path: Path) -> Image.Image:
    """The decoded RGB image at `path`. Raises InputError where it can't be read."""
    return _decoded(path, "RGB")


def _open(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        reason = "no image format that Pillow knows" if isinstance(error, UnidentifiedImageError) else str(error)
        raise InputError(f"unreadable image {path}: {reason}") from None


def _decoded(path: Path, mode: str | None) -> Image.Image:
    with _open(path) as image:
        try:
            image.load()
            return image.convert(mode) if mode else image.copy()
        except (OSError, SyntaxError, ValueError) as error:
            raise InputError(f"unreadable image {path}: {error}") from None


def read_mask(path: Path) -> Bytes:
    """Class ids uint8 [H, W]. Raises InputError where the file holds anything but one channel of ids."""
    image = _decoded(path, None)
    if image.mode not in ("L", "P", "1"):
        raise InputError(
            f"mask {path} is {image.mode}: a mask is a one-channel 8-bit image of class ids (PNG, mode L or P)"
        )
    return np.asarray(image, dtype=np.uint8)


def check_ids(mask: Bytes, classes: ClassList, path: Path) -> None:
    """Raise InputError where a mask holds an id that is neither a class nor the ignored one."""
    unknown = [int(v) for v in np.unique(mask) if v >= len(classes) and v != classes.ignore]
    if unknown:
        ids = ", ".join(map(str, unknown[:5]))
        last = len(classes) - 1
        raise InputError(
            f"mask {path} holds unknown class id {ids}: known are 0 to {last}, and {classes.ignore} (ignored)"
        )


def open_folder(root: Path) -> FolderSource:
    """Find layout, classes and splits of a folder.

    Raises:
        InputError: nothing in it, no layout of ours, an image without its mask, a bad classes.toml.
    """
    given = {name: _pairs(images, masks) for name, (images, masks) in _find_splits(root).items()}
    if not any(given.values()):
        raise InputError(f"no images with masks in {root}; expected {LAYOUTS}")
    splits, rule = assign_splits({name: pairs for name, pairs in given.items() if pairs}, root)
    return FolderSource(root, _read_classes(root, splits), splits, rule)


def _find_splits(root: Path) -> dict[str, tuple[Path, Path]]:
    """Folders of images and masks by canonical split name; `train` for a folder without splits."""
    found: dict[str, tuple[Path, Path]] = {}
    for name, canonical in GIVEN_NAMES.items():
        for images, masks in (
            (root / "images" / name, root / "masks" / name),
            (root / name / "images", root / name / "masks"),
            (root / name, root / f"{name}annot"),
        ):
            if images.is_dir() and masks.is_dir() and canonical not in found:
                found[canonical] = (images, masks)
    if not found and (root / "images").is_dir() and (root / "masks").is_dir():
        found["train"] = (root / "images", root / "masks")
    return found


def _pairs(images: Path, masks: Path) -> tuple[Pair, ...]:
    mask_by_stem = {path.stem: path for path in _image_files(masks)}
    pairs = []
    for path in _image_files(images):
        if path.stem not in mask_by_stem:
            raise InputError(f"image {path} has no mask: expected {masks / path.stem}.png")
        pairs.append(Pair(path.stem, path, mask_by_stem[path.stem]))
    return tuple(pairs)


def _image_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)


def assign_splits(given: Mapping[str, tuple[Pair, ...]], root: Path) -> tuple[dict[SplitName, tuple[Pair, ...]], str]:
    """The four splits out of those that a folder has, and the rule in words.

    `test` is the folder's test, else its val. A val beside a test gives search and certify; otherwise they are cut from
    train, and so is test where the folder has neither.
    """
    if "train" not in given:
        raise InputError(f"{root} has no training images (found: {', '.join(given)}); expected {LAYOUTS}")
    splits: dict[SplitName, tuple[Pair, ...]] = {}
    said: list[str] = []
    test = "test" if "test" in given else "val" if "val" in given else None
    if test:
        splits["test"] = given[test]
        said.append(f"test is the folder's {test}")
    if "search" in given and "certify" in given:
        splits |= {"search": given["search"], "certify": given["certify"]}
        said.append("search and certify are the folder's")
    elif test == "test" and "val" in given:
        splits |= _deal(given["val"], VALIDATION, root)
        said.append(f"search and certify out of val: {RULE} {', '.join(VALIDATION)}")
    if "search" in splits and "test" in splits:
        splits["train"] = given["train"]
    else:
        turns = tuple("train" if name in splits else name for name in (TRAIN_BESIDE_TEST if test else TRAIN_ONLY))
        splits |= _deal(given["train"], turns, root)
        said.append(f"out of train: {RULE} {', '.join(turns)}")
    return splits, "; ".join(said)


def _deal(pairs: Iterable[Pair], turns: tuple[SplitName, ...], root: Path) -> dict[SplitName, tuple[Pair, ...]]:
    by_id = {pair.id: pair for pair in pairs}
    parts = cut(list(by_id), turns, str(root))
    return {name: tuple(by_id[stem] for stem in stems) for name, stems in parts.items()}


def _read_classes(root: Path, splits: Mapping[SplitName, tuple[Pair, ...]]) -> ClassList:
    path = root / "classes.toml"
    if not path.is_file():
        return _counted_classes(splits)
    try:
        content = msgspec.toml.decode(path.read_bytes(), type=_ClassFile)
    except (msgspec.DecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: {error}; it takes names, and optionally colors and ignore") from None
    if len(content.names) < 2:
        raise InputError(f"{path} names {len(content.names)} class(es); segmentation needs at least 2")
    if content.colors is not None and len(content.colors) != len(content.names):
        raise InputError(f"{path} has {len(content.colors)} colors for {len(content.names)} names: one each")
    colors = tuple(content.colors or distinct_colors(len(content.names)))
    return ClassList(tuple(content.names), colors, content.ignore)


def _counted_classes(splits: Mapping[SplitName, tuple[Pair, ...]]) -> ClassList:
    """Classes 0 to the highest id in any mask; 255 is ignored."""
    highest = 0
    for pair in (pair for pairs in splits.values() for pair in pairs):
        mask = read_mask(pair.mask)
        highest = max(highest, int(mask[mask != NO_LABEL].max(initial=0)))
    if highest == 0:
        raise InputError("the masks hold one class only (id 0); segmentation needs at least 2")
    names = tuple(f"class {index}" for index in range(highest + 1))
    return ClassList(names, distinct_colors(len(names)))
