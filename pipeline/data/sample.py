"""`sample`: real photo cut-outs composed on real photos, with exact masks, out of packages of the distribution.

The pictures (GPL and CC-BY-SA) are fetched and composed on the user's machine; none is part of this project.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal, get_args

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from device_profiler import debian
from device_profiler.errors import InputError
from pipeline.data.source import SPLIT_NAMES, Bytes, ClassList, Size, SplitName
from pipeline.progress import Progress

STAMP_PACKAGES = ("tuxpaint-stamps-default",)
PHOTO_PACKAGES = (
    "mate-backgrounds",
    "plasma-workspace-wallpapers",
    "lomiri-wallpapers-16.04",
    "lomiri-wallpapers-20.04",
)
STAMP_FOLDER = "usr/share/tuxpaint/stamps"
PHOTO_FOLDER = "usr/share"

CLASSES = ClassList(
    names=(
        "background",
        "mammal",
        "bird",
        "other animal",
        "fruit or vegetable",
        "plant",
        "vehicle",
        "road sign",
        "object",
    ),
    colors=(
        (0, 0, 0),
        (220, 60, 60),
        (60, 120, 255),
        (255, 140, 0),
        (60, 220, 60),
        (230, 80, 230),
        (240, 240, 60),
        (80, 230, 230),
        (180, 180, 180),
    ),
)
RULE = (
    "objects (mirrored and numbered pictures of one object together) and photos lie on one side: 66 % for train, 14 % "
    "shared by search and certify, 20 % for test; every image composed anew from its split and number"
)

Pool = Literal["train", "held", "test"]
POOLS: tuple[Pool, ...] = get_args(Pool)
POOL_OF: Mapping[SplitName, Pool] = {"train": "train", "search": "held", "certify": "held", "test": "test"}
TEST_SHARE, HELD_SHARE = 0.20, 0.14

# Drawings and letters among the photo cut-outs.
_DRAWN = ("cartoon", "toys", "symbols/", "plastic", "armor", "dinosaur")
_FOLDERS: tuple[tuple[tuple[str, ...], int], ...] = (
    (("animals/mammals", "animals/marsupials"), 1),
    (("animals/birds",), 2),
    (("animals/",), 3),
    (("food/fruit", "food/vegetables", "food/nuts"), 4),
    (("plants/",), 5),
    (("vehicles/", "military/vehicles"), 6),
    (("town/roadsigns",), 7),
    (("household/", "hobbies/", "sports/", "medical/"), 8),
)


@dataclass(frozen=True)
class SamplePackages:
    """Folders that hold the unpacked packages; `versions` changes with any package's version."""

    stamps: Path
    photos: Path
    versions: tuple[str, str]


def fetch_packages() -> SamplePackages:
    """Download and unpack the packages into the cache (the second call finds them there).

    Raises:
        InputError: this machine has no apt.
        DeviceError: the download failed.
    """
    try:
        stamps = debian.fetch(STAMP_PACKAGES, dependencies=False)
        photos = debian.fetch(PHOTO_PACKAGES, dependencies=False)
    except InputError as error:
        raise InputError(f"--data sample is built from Debian packages: {error}") from None
    return SamplePackages(stamps / STAMP_FOLDER, photos / PHOTO_FOLDER, (stamps.name, photos.name))


def stamp_class(name: str) -> int | None:
    """Class id of a stamp by its path inside the stamp folder; None where it is no photo of one of our classes."""
    if any(word in name for word in _DRAWN):
        return None
    return next((label for folders, label in _FOLDERS if name.startswith(folders)), None)


def stamp_group(name: str) -> str:
    """What pictures of one object share: folder and stem without number and `_mirror`."""
    path = PurePosixPath(name)
    stem = path.stem.replace("_mirror", "").rstrip("0123456789").rstrip("-_")
    return f"{path.parent}/{stem}"


def assign_pools(groups: Iterable[str]) -> dict[str, Pool]:
    """Which pool every group of one class belongs to: shares of the groups in the order of their hashes."""
    ordered = sorted(set(groups), key=lambda group: hashlib.sha256(group.encode()).digest())
    test = max(1, round(TEST_SHARE * len(ordered)))
    held = max(1, round(HELD_SHARE * len(ordered)))
    pools: dict[str, Pool] = {}
    for position, group in enumerate(ordered):
        pools[group] = "test" if position < test else "held" if position < test + held else "train"
    return pools


@dataclass(frozen=True)
class Stamp:
    """A cut-out: RGBA, cropped to what is visible."""

    name: str
    label: int
    image: Image.Image


@dataclass(frozen=True)
class SampleRecipe:
    """Stamps by class and photos of every pool, ready to be composed."""

    version: ClassVar[int] = 2
    size: Size
    stamps: Mapping[Pool, Mapping[int, Sequence[Stamp]]]
    photos: Mapping[Pool, Sequence[Image.Image]]

    @classmethod
    def open(cls, packages: SamplePackages, size: Size, progress: Progress) -> "SampleRecipe":
        """Decode what the packages hold."""
        return cls(
            size, _pooled_stamps(packages.stamps, max(size), progress), _pooled_photos(packages.photos, max(size))
        )

    def compose(self, split: SplitName, index: int) -> tuple[Bytes, Bytes]:
        """Image [H, W, 3] and mask [H, W] number `index` of a split; the same arguments give the same pixels."""
        rng = np.random.default_rng((self.version, SPLIT_NAMES.index(split), index))
        pool = POOL_OF[split]
        photos = self.photos[pool]
        canvas = _background(rng, photos[int(rng.integers(len(photos)))], self.size)
        mask = np.zeros(self.size, np.uint8)
        for _ in range(int(rng.integers(2, 7))):
            stamps = self.stamps[pool][int(rng.integers(1, len(CLASSES)))]
            _paste(rng, canvas, mask, stamps[int(rng.integers(len(stamps)))])
        return _camera(rng, canvas), mask


def _background(rng: np.random.Generator, photo: Image.Image, size: Size) -> Image.Image:
    height, width = size
    scale = rng.uniform(0.25, 0.95) * min(photo.width / width, photo.height / height)
    w, h = int(width * scale), int(height * scale)
    left, top = (int(rng.integers(limit + 1)) for limit in (photo.width - w, photo.height - h))
    crop = photo.resize((width, height), Image.Resampling.BILINEAR, box=(left, top, left + w, top + h))
    return crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else crop


def _paste(rng: np.random.Generator, canvas: Image.Image, mask: Bytes, stamp: Stamp) -> None:
    """Put a stamp, resized, turned and relit, somewhere on canvas and mask; up to half of it may lie outside."""
    cut_out = _posed(rng, stamp.image, min(canvas.size))
    colored = ImageEnhance.Brightness(cut_out.convert("RGB")).enhance(rng.uniform(0.55, 1.25))
    colored = ImageEnhance.Color(colored).enhance(rng.uniform(0.4, 1.2))
    alpha = cut_out.getchannel("A")
    left = int(rng.uniform(-0.25 * cut_out.width, canvas.width - 0.75 * cut_out.width))
    top = int(rng.uniform(-0.25 * cut_out.height, canvas.height - 0.75 * cut_out.height))
    canvas.paste(colored, (left, top), alpha.filter(ImageFilter.GaussianBlur(0.6)))
    placed = Image.new("L", canvas.size)
    placed.paste(alpha, (left, top))
    mask[np.asarray(placed) > 127] = stamp.label


def _posed(rng: np.random.Generator, image: Image.Image, side: int) -> Image.Image:
    scale = float(np.exp(rng.uniform(np.log(0.25), np.log(0.9)))) * side / max(image.size)
    posed = image.resize(
        (max(4, round(image.width * scale)), max(4, round(image.height * scale))), Image.Resampling.BILINEAR
    )
    if rng.random() < 0.5:
        posed = posed.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return posed.rotate(rng.uniform(-25, 25), Image.Resampling.BILINEAR, expand=True)


def _camera(rng: np.random.Generator, canvas: Image.Image) -> Bytes:
    """Blur, exposure and noise of the whole picture."""
    if rng.random() < 0.4:
        canvas = canvas.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 1.2)))
    pixels = np.asarray(canvas, np.float32) * np.float32(rng.uniform(0.7, 1.15))
    noise = rng.standard_normal((canvas.height, canvas.width, 1), np.float32) * np.float32(rng.uniform(0, 10))
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


def _pooled_stamps(folder: Path, side: int, progress: Progress) -> dict[Pool, dict[int, list[Stamp]]]:
    paths = sorted(path for path in folder.rglob("*.png") if stamp_class(path.relative_to(folder).as_posix()))
    by_class: dict[int, list[Stamp]] = defaultdict(list)
    with progress.task("decoding cut-outs", len(paths)) as advance:
        for path in paths:
            stamp = _read_stamp(path, path.relative_to(folder).as_posix(), side)
            if stamp:
                by_class[stamp.label].append(stamp)
            advance(1, "")
    pooled: dict[Pool, dict[int, list[Stamp]]] = {pool: {} for pool in POOLS}
    for label, stamps in by_class.items():
        pools = assign_pools(stamp_group(stamp.name) for stamp in stamps)
        for pool in POOLS:
            pooled[pool][label] = [stamp for stamp in stamps if pools[stamp_group(stamp.name)] == pool]
    return pooled


def _read_stamp(path: Path, name: str, side: int) -> Stamp | None:
    """The stamp in a file; None where it is tiny, almost empty, or fills its whole rectangle (no cut-out)."""
    label = stamp_class(name)
    with Image.open(path) as opened:
        image = opened.convert("RGBA")
    alpha = np.asarray(image.getchannel("A"))
    if label is None or min(image.size) < 24 or (alpha > 128).mean() < 0.05 or (alpha < 10).mean() < 0.02:
        return None
    image = image.crop(image.getchannel("A").point(lambda value: 255 * (value > 20)).getbbox())
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return Stamp(name, label, image)


def _pooled_photos(folder: Path, side: int) -> dict[Pool, list[Image.Image]]:
    names = resources.files("pipeline.data").joinpath("sample_photos.txt").read_text().split()
    photos: dict[Pool, list[Image.Image]] = {pool: [] for pool in POOLS}
    for position, name in enumerate(names):
        pool: Pool = "test" if position % 5 == 1 else "held" if position % 6 == 4 else "train"
        photos[pool].append(_read_photo(folder / name, 4 * side))
    return photos


def _read_photo(path: Path, side: int) -> Image.Image:
    with Image.open(path) as opened:
        opened.draft("RGB", (side, side))
        photo = opened.convert("RGB")
    photo.thumbnail((side, side), Image.Resampling.BILINEAR)
    return photo
