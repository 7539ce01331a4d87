"""Splits as arrays on disk: built once into the cache, then mapped into memory."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from device_profiler.files import atomic_path, write_atomic
from pipeline.data.source import SPLIT_NAMES, Bytes, Size, Split, SplitName
from pipeline.progress import Advance, Progress

Make = Callable[[SplitName, int], tuple[Bytes, Bytes]]
"""Image [H, W, 3] and mask [H, W] number `index` of a split."""

WORKERS = 2


class _Index(msgspec.Struct, frozen=True):
    """Written last: without it the arrays beside it are not complete."""

    ids: dict[SplitName, list[str]]


@dataclass(frozen=True)
class ArrayFolder:
    """The folder of one source at one size."""

    folder: Path

    def load(self) -> dict[SplitName, Split] | None:
        """The splits, mapped into memory; None where they were not (or not completely) built."""
        try:
            index = msgspec.json.decode((self.folder / "index.json").read_bytes(), type=_Index)
            return {name: self._split(name, index.ids[name]) for name in SPLIT_NAMES}
        except (FileNotFoundError, msgspec.DecodeError, ValueError):
            return None

    def _split(self, name: SplitName, ids: Sequence[str]) -> Split:
        images, masks = (np.load(self._path(name, kind), mmap_mode="r") for kind in ("images", "masks"))
        return Split(name, tuple(ids), images, masks)

    def _path(self, name: SplitName, kind: str) -> Path:
        return self.folder / f"{name}-{kind}.npy"

    def build(
        self, ids: Mapping[SplitName, Sequence[str]], size: Size, make: Make, title: str, progress: Progress,
        mask_size: Size | None = None,
    ) -> None:
        """Make every image of every split and keep it; `make` is called from several threads.

        `size` of the images, and of the masks where theirs is not another.
        """
        with progress.task(title, sum(len(of_split) for of_split in ids.values())) as advance:
            for name in SPLIT_NAMES:
                self._build_split(name, len(ids[name]), (size, mask_size or size), make, advance)
        index = _Index({name: list(ids[name]) for name in SPLIT_NAMES})
        write_atomic(self.folder / "index.json", msgspec.json.encode(index))

    def _build_split(
        self, name: SplitName, count: int, sizes: tuple[Size, Size], make: Make, advance: Advance
    ) -> None:
        with (
            atomic_path(self._path(name, "images")) as image_path,
            atomic_path(self._path(name, "masks")) as mask_path,
            ThreadPoolExecutor(WORKERS) as pool,
        ):
            images = np.lib.format.open_memmap(image_path, "w+", np.uint8, (count, *sizes[0], 3))
            masks = np.lib.format.open_memmap(mask_path, "w+", np.uint8, (count, *sizes[1]))
            for index, (image, mask) in enumerate(pool.map(lambda position: make(name, position), range(count))):
                images[index], masks[index] = image, mask
                advance(1, "")
            images.flush()
            masks.flush()
