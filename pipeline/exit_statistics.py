"""What every exit and head answered on every image: the search's first file (statistics.npz, schema 1)."""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device_profiler.errors import InputError
from device_profiler.files import atomic_path

SCHEMA = 1
REQUIRED_KEYS = ("confidence", "intersection", "union", "exits", "heads", "classes", "images", "policy")
OPTIONAL_KEYS = ("reference", "precision", "schema")


def mean_iou(intersection: NDArray[np.int64], union: NDArray[np.int64]) -> float:
    """Mean over the classes whose union is positive of intersection / union; 0.0 where no class is seen.

    intersection, union: [C] pixels summed over a set of images (MulticlassJaccardIndex, macro).
    """
    present = union > 0
    if not present.any():
        return 0.0
    return float(np.mean(intersection[present] / union[present]))


@dataclass(frozen=True, eq=False)
class ExitStatistics:
    """Confidence and overlap of every candidate (exit, head) on every image of one split.

    A slot of `heads` that is empty has no candidate: whatever else stands there is ignored.
    Raises InputError on construction where shapes disagree or a value breaks its rule.
    """

    confidence: NDArray[np.float32]  # [E, H, I], in [0, 1], under `policy`
    intersection: NDArray[np.int64]  # [E, H, I, C] pixels
    union: NDArray[np.int64]  # [E, H, I, C] pixels
    exits: tuple[str, ...]  # [E] in depth order
    heads: tuple[tuple[str, ...], ...]  # [E][H], "" where there is none
    classes: tuple[str, ...]  # [C]
    images: tuple[str, ...]  # [I]
    reference: tuple[int, int]  # exit and head of the full network
    policy: str
    precision: str = ""

    def __post_init__(self) -> None:
        _check_names(self)
        _check_shapes(self)
        _check_values(self)

    def exists(self, exit_index: int, head: int) -> bool:
        """Whether there is a head in this slot."""
        return self.heads[exit_index][head] != ""

    def head_index(self, exit_index: int, name: str) -> int:
        """Index of the head called `name` at this exit. Raises InputError where there is none."""
        if not name or name not in self.heads[exit_index]:
            known = ", ".join(head for head in self.heads[exit_index] if head)
            raise InputError(f"head {name!r} is not at {self.exits[exit_index]}: choose one of {known}")
        return self.heads[exit_index].index(name)

    def class_iou(self, exit_index: int, head: int) -> NDArray[np.float64]:
        """[C] IoU of one exit and head over all images; NaN for a class that is neither present nor predicted."""
        intersection = self.intersection[exit_index, head].sum(axis=0)
        union = self.union[exit_index, head].sum(axis=0)
        iou = np.full(len(union), np.nan)
        np.divide(intersection, union, out=iou, where=union > 0)
        return iou

    def miou(self, exit_index: int, head: int) -> float:
        """mIoU of one exit and head over all images (every image leaves there)."""
        return mean_iou(self.intersection[exit_index, head].sum(axis=0), self.union[exit_index, head].sum(axis=0))

    def save(self, path: Path) -> None:
        """Write statistics.npz, whole or not at all."""
        with atomic_path(path) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(
                stream,
                confidence=self.confidence,
                intersection=self.intersection,
                union=self.union,
                exits=np.array(self.exits, dtype=np.str_),
                heads=np.array(self.heads, dtype=np.str_),
                classes=np.array(self.classes, dtype=np.str_),
                images=np.array(self.images, dtype=np.str_),
                reference=np.array(self.reference, dtype=np.int64),
                policy=np.array(self.policy, dtype=np.str_),
                precision=np.array(self.precision, dtype=np.str_),
            )

    @classmethod
    def load(cls, path: Path) -> "ExitStatistics":
        """Read and check statistics.npz. Raises InputError with the file's name and the broken rule."""
        arrays = _read_npz(path)
        try:
            return _from_arrays(arrays)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None


def default_reference(heads: Sequence[Sequence[str]]) -> tuple[int, int]:
    """The full network where none is named: the last exit and its first head. Raises InputError where it has none."""
    last = len(heads) - 1
    for index, name in enumerate(heads[last] if heads else ()):
        if name:
            return last, index
    raise InputError("the last exit has no head: name the full network in 'reference' = [exit, head]")


def _read_npz(path: Path) -> dict[str, NDArray[np.generic]]:
    if not path.exists():
        raise InputError(f"{path} does not exist: `python -m pipeline evaluate` writes statistics.npz")
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path} is no .npz of exit statistics; `python -m pipeline evaluate` writes statistics.npz")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: np.asarray(archive[name]) for name in archive.files}  # bytes where a member is no array
    except (zipfile.BadZipFile, ValueError, OSError, EOFError) as error:
        raise InputError(f"{path} can't be read as an .npz of exit statistics: {error}") from None


def _from_arrays(arrays: dict[str, NDArray[np.generic]]) -> ExitStatistics:
    _check_keys(set(arrays))
    if "schema" in arrays and (arrays["schema"].ndim or arrays["schema"].item() != SCHEMA):
        raise InputError(f"schema {arrays['schema']} is not known: this version reads schema {SCHEMA}")
    heads = _text_table(arrays["heads"])
    return ExitStatistics(
        confidence=_confidence(arrays["confidence"]),
        intersection=_pixels("intersection", arrays["intersection"]),
        union=_pixels("union", arrays["union"]),
        exits=_text_list("exits", arrays["exits"]),
        heads=heads,
        classes=_text_list("classes", arrays["classes"]),
        images=_text_list("images", arrays["images"]),
        reference=_reference(arrays["reference"]) if "reference" in arrays else default_reference(heads),
        policy=_text("policy", arrays["policy"]),
        precision=_text("precision", arrays["precision"]) if "precision" in arrays else "",
    )


def _check_keys(keys: set[str]) -> None:
    missing = [key for key in REQUIRED_KEYS if key not in keys]
    unknown = sorted(keys - set(REQUIRED_KEYS) - set(OPTIONAL_KEYS))
    if missing:
        raise InputError(f"{', '.join(missing)} missing: an .npz of exit statistics has {', '.join(REQUIRED_KEYS)}")
    if unknown:
        allowed = ", ".join(REQUIRED_KEYS + OPTIONAL_KEYS)
        raise InputError(f"unknown key {', '.join(unknown)}: an .npz of exit statistics has {allowed}")


def _confidence(array: NDArray[np.generic]) -> NDArray[np.float32]:
    if array.dtype != np.float32:
        raise InputError(f"confidence is {array.dtype}, must be float32: devices compare in float32")
    return np.ascontiguousarray(array, dtype=np.float32)


def _pixels(name: str, array: NDArray[np.generic]) -> NDArray[np.int64]:
    if array.dtype.kind not in "iu":
        raise InputError(f"{name} is {array.dtype}, must be int64 (pixels)")
    return np.ascontiguousarray(array, dtype=np.int64)


def _text(name: str, array: NDArray[np.generic]) -> str:
    if array.dtype.kind != "U" or array.size != 1:
        raise InputError(f"{name} is {array.dtype} of shape {array.shape}, must be one string")
    return str(array.reshape(()).item())


def _text_list(name: str, array: NDArray[np.generic]) -> tuple[str, ...]:
    if array.ndim != 1 or (array.size and array.dtype.kind != "U"):
        raise InputError(f"{name} is {array.dtype} of shape {array.shape}, must be a list of strings")
    return tuple(str(value) for value in array)


def _text_table(array: NDArray[np.generic]) -> tuple[tuple[str, ...], ...]:
    if array.ndim != 2 or array.dtype.kind != "U":
        raise InputError(f"heads is {array.dtype} of shape {array.shape}, must be strings of shape [exits, heads]")
    return tuple(tuple(str(name) for name in row) for row in array)


def _reference(array: NDArray[np.generic]) -> tuple[int, int]:
    if array.shape != (2,) or array.dtype.kind not in "iu":
        raise InputError(f"reference is {array.dtype} of shape {array.shape}, must be int [2]: exit and head")
    exit_index, head = (int(value) for value in array)
    return exit_index, head


def _check_names(statistics: ExitStatistics) -> None:
    for name, values in (("exits", statistics.exits), ("classes", statistics.classes), ("images", statistics.images)):
        if not values:
            raise InputError(f"no {name}: at least one is needed")
    if len(set(statistics.exits)) != len(statistics.exits):
        raise InputError(f"exits {', '.join(statistics.exits)} are not distinct")
    if len({len(row) for row in statistics.heads}) != 1:
        raise InputError("heads must have as many slots at every exit: leave the unused ones empty")
    for exit_name, row in zip(statistics.exits, statistics.heads, strict=False):
        names = [name for name in row if name]
        if len(set(names)) != len(names):
            raise InputError(f"heads of {exit_name} are not distinct: {', '.join(names)}")
    if not any(name for row in statistics.heads for name in row):
        raise InputError("no head at any exit: at least one is needed")


def _check_shapes(statistics: ExitStatistics) -> None:
    exits, heads = len(statistics.exits), len(statistics.heads[0])
    images, classes = len(statistics.images), len(statistics.classes)
    expected = {
        "confidence": (statistics.confidence.shape, (exits, heads, images)),
        "intersection": (statistics.intersection.shape, (exits, heads, images, classes)),
        "union": (statistics.union.shape, (exits, heads, images, classes)),
        "heads": ((len(statistics.heads), heads), (exits, heads)),
    }
    for name, (shape, wanted) in expected.items():
        if shape != wanted:
            raise InputError(
                f"{name} has shape {list(shape)}, must be {list(wanted)} "
                f"({exits} exits, {heads} head slots, {images} images, {classes} classes)"
            )
    exit_index, head = statistics.reference
    if not (0 <= exit_index < exits and 0 <= head < heads and statistics.exists(exit_index, head)):
        raise InputError(f"reference [{exit_index}, {head}] has no head: choose an exit and head that exist")


def _check_values(statistics: ExitStatistics) -> None:
    for e, row in enumerate(statistics.heads):
        for h, name in enumerate(row):
            if name:
                _check_candidate(statistics, e, h, f"{statistics.exits[e]}, head {name}")


def _check_candidate(statistics: ExitStatistics, e: int, h: int, where: str) -> None:
    confidence = statistics.confidence[e, h]
    legal = (confidence >= 0) & (confidence <= 1)  # False for NaN
    if not legal.all():
        i = int(np.argmin(legal))
        raise InputError(f"confidence {confidence[i]} of {where}, image {statistics.images[i]}: must be in [0, 1]")
    intersection, union = statistics.intersection[e, h], statistics.union[e, h]
    legal = (intersection >= 0) & (intersection <= union)
    if not legal.all():
        i, c = (int(index) for index in np.argwhere(~legal)[0])
        raise InputError(
            f"intersection {intersection[i, c]}, union {union[i, c]} of {where}, image {statistics.images[i]}, class "
            f"{statistics.classes[c]}: must be 0 <= intersection <= union"
        )
