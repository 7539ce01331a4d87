"""From `--data SOURCE` to a `DataSource`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from device_profiler.errors import InputError
from device_profiler.files import cache_folder, sha256_bytes
from pipeline.data import shapes
from pipeline.data.arrays import ArrayFolder, Make
from pipeline.data.cityscapes import open_cityscapes
from pipeline.data.coco import open_coco
from pipeline.data.folder import FolderSource, open_folder
from pipeline.data.sample import CLASSES as SAMPLE_CLASSES
from pipeline.data.sample import RULE as SAMPLE_RULE
from pipeline.data.sample import SampleRecipe, fetch_packages
from pipeline.data.source import SPLIT_NAMES, ClassList, DataAmounts, DataSource, Size, SplitName, default_size
from pipeline.data.voc import open_voc
from pipeline.progress import Progress, SilentProgress

SOURCES = "sample, shapes, folder:PATH, voc:PATH, coco:PATH, or cityscapes:PATH"
IN_FILES: Mapping[str, Callable[[Path], FolderSource]] = {
    "folder": open_folder,
    "voc": open_voc,
    "coco": open_coco,
    "cityscapes": open_cityscapes,
}
"""Sources that lie in files, by what stands before the colon."""


@dataclass(frozen=True)
class _Plan:
    """A source before its images are made: everything that its cache key depends on, and how to make one image."""

    spec: str
    classes: ClassList
    size: Size
    ids: Mapping[SplitName, Sequence[str]]
    rule: str
    fingerprint: str
    make: Callable[[Progress], Make]


def check_source(spec: str) -> None:
    """Whether `spec` names a source and its folder is there; nothing in it is read.

    Raises:
        InputError: it does not, or the folder is not.
    """
    kind, _, argument = spec.partition(":")
    if kind in IN_FILES and argument:
        if not Path(argument).is_dir():
            raise InputError(f"no folder {argument} for --data {spec}: check the path")
    elif spec not in COMPOSED:
        raise InputError(f"unknown data source {spec!r}; choose {SOURCES}")


def load_source(
    spec: str, *, size: Size | None = None, area: int, amounts: DataAmounts, progress: Progress | None = None
) -> DataSource:
    """The source that `spec` names (see SOURCES) at `size`, built into the cache on first use.

    Without a `size` it is chosen: the source's aspect, multiples of 32, near `area` pixels. `amounts` tells composed
    sources how many images to make.

    Raises:
        InputError: unknown source; a folder without images; unreadable images; bad masks, sizes or class ids.
        DeviceError: a package of the sample data could not be downloaded.
    """
    shown = progress or SilentProgress()
    plan = _plan(spec, size, area, amounts)
    arrays = ArrayFolder(cache_folder("data", plan.fingerprint[:32]))
    splits = arrays.load()
    if splits is None:
        arrays.build(plan.ids, plan.size, plan.make(shown), f"data {spec}", shown)
        splits = arrays.load()
    if splits is None:
        raise InputError(f"{arrays.folder} can't be read back after writing: check the disk and try again")
    return DataSource(spec, plan.classes, plan.size, **splits, rule=plan.rule, fingerprint=plan.fingerprint)


def _plan(spec: str, size: Size | None, area: int, amounts: DataAmounts) -> _Plan:
    check_source(spec)
    kind, _, argument = spec.partition(":")
    if kind in IN_FILES:
        return _folder_plan(spec, IN_FILES[kind](Path(argument)), size, area)
    return COMPOSED[kind](size or default_size(1.0, area), amounts)


def _shapes_plan(size: Size, amounts: DataAmounts) -> _Plan:
    key = sha256_bytes(msgspec.json.encode(("shapes", shapes.VERSION, size, amounts)))

    def make(progress: Progress) -> Make:
        return lambda split, index: shapes.draw(split, index, size)

    return _Plan("shapes", shapes.CLASSES, size, _numbered(amounts), shapes.RULE, key, make)


def _sample_plan(size: Size, amounts: DataAmounts) -> _Plan:
    packages = fetch_packages()
    key = sha256_bytes(msgspec.json.encode(("sample", packages.versions, SampleRecipe.version, size, amounts)))

    def make(progress: Progress) -> Make:
        return SampleRecipe.open(packages, size, progress).compose

    return _Plan("sample", SAMPLE_CLASSES, size, _numbered(amounts), SAMPLE_RULE, key, make)


def _numbered(amounts: DataAmounts) -> dict[SplitName, list[str]]:
    return {name: [f"{name}-{index:05d}" for index in range(amounts.of(name))] for name in SPLIT_NAMES}


def _folder_plan(spec: str, folder: FolderSource, size: Size | None, area: int) -> _Plan:
    chosen = size or default_size(folder.aspect(), area)
    key = sha256_bytes(msgspec.json.encode(("folder", 1, folder.fingerprint(), chosen)))
    ids = {name: [pair.id for pair in folder.splits[name]] for name in SPLIT_NAMES}
    return _Plan(spec, folder.classes, chosen, ids, folder.rule, key, lambda progress: _reader(folder, chosen))


def _reader(folder: FolderSource, size: Size) -> Make:
    return lambda split, index: folder.read(folder.splits[split][index], size)


COMPOSED: Mapping[str, Callable[[Size, DataAmounts], _Plan]] = {"sample": _sample_plan, "shapes": _shapes_plan}
"""Sources whose images are made here."""
