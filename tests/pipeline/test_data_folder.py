from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from device_profiler.errors import InputError
from pipeline.data import DataAmounts, DataSource, load_source

AMOUNTS = DataAmounts(train=4, search=2, certify=2, test=2)
pytestmark = pytest.mark.usefixtures("own_cache")

CAMVID = Path(__file__).parents[2] / "../shared/camvid"


def write_pair(images: Path, masks: Path, stem: str, mask: np.ndarray | None = None, *, color: int = 90) -> None:
    images.mkdir(parents=True, exist_ok=True)
    masks.mkdir(parents=True, exist_ok=True)
    if mask is None:
        mask = np.zeros((48, 64), np.uint8)
        mask[:, 32:] = 1
    Image.fromarray(np.full((48, 64, 3), color, np.uint8)).save(images / f"{stem}.jpg")
    Image.fromarray(mask).save(masks / f"{stem}.png")


def fill(root: Path, split: str, count: int, *, images: str = "images/{}", masks: str = "masks/{}") -> None:
    for index in range(count):
        stem = f"{split}_{index:03d}"
        write_pair(root / images.format(split), root / masks.format(split), stem, color=10 + index)


def load(root: Path, **options: object) -> DataSource:
    return load_source(f"folder:{root}", area=64 * 64, amounts=AMOUNTS, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("images", "masks"), [("images/{}", "masks/{}"), ("{}/images", "{}/masks"), ("{}", "{}annot")])
def test_every_layout_is_read_at_one_size(tmp_path: Path, images: str, masks: str) -> None:
    fill(tmp_path, "train", 16, images=images, masks=masks)
    fill(tmp_path, "val", 3, images=images, masks=masks)
    source = load(tmp_path, size=(32, 64))
    assert len(source.test) == 3 and len(source.train) + len(source.search) + len(source.certify) == 16
    sample = source.test[0]
    assert sample.image.shape == (32, 64, 3) and sample.image.dtype == np.uint8
    assert sample.mask.shape == (32, 64) and (sample.mask[:, :31] == 0).all() and (sample.mask[:, 33:] == 1).all()


def test_val_beside_test_gives_search_and_certify_and_train_stays_whole(tmp_path: Path) -> None:
    for split, count in (("train", 5), ("val", 16), ("test", 2)):
        fill(tmp_path, split, count)
    source = load(tmp_path)
    assert [len(source.split(name)) for name in ("train", "search", "certify", "test")] == [5, 8, 8, 2]
    assert all(name.startswith("val") for name in source.search.ids + source.certify.ids)
    assert not set(source.search.ids) & set(source.certify.ids)


def test_a_folder_without_splits_is_cut_into_all_four(tmp_path: Path) -> None:
    for index in range(32):
        write_pair(tmp_path / "images", tmp_path / "masks", f"drive_{index:02d}")
    source = load(tmp_path)
    sizes = {name: len(source.split(name)) for name in ("train", "search", "certify", "test")}
    assert sizes == {"train": 16, "search": 4, "certify": 4, "test": 8}
    assert source.search.ids == tuple(f"drive_{index:02d}" for index in range(12, 16)), "one contiguous block"
    assert "contiguous blocks" in source.rule


def test_size_is_chosen_by_area_with_the_images_aspect(tmp_path: Path) -> None:
    fill(tmp_path, "train", 8)
    source = load_source(f"folder:{tmp_path}", area=224 * 288, amounts=AMOUNTS)
    assert source.size == (224, 288)


def test_classes_are_counted_and_255_is_ignored_without_a_classes_file(tmp_path: Path) -> None:
    mask = np.full((48, 64), 255, np.uint8)
    mask[:8] = 3
    for index in range(8):
        write_pair(tmp_path / "images", tmp_path / "masks", f"a{index}", mask)
    source = load(tmp_path)
    assert source.classes.names == ("class 0", "class 1", "class 2", "class 3") and source.classes.ignore == 255
    assert len(set(source.classes.colors)) == 4


def test_classes_file_gives_names_colors_and_ignore(tmp_path: Path) -> None:
    fill(tmp_path, "train", 8)
    (tmp_path / "classes.toml").write_text('names = ["sky", "road"]\nignore = 9\ncolors = [[1, 2, 3], [4, 5, 6]]\n')
    classes = load(tmp_path).classes
    assert classes.names == ("sky", "road") and classes.ignore == 9 and classes.colors[1] == (4, 5, 6)


def test_the_fingerprint_changes_with_a_pixel_and_the_second_load_reads_no_image(tmp_path: Path) -> None:
    fill(tmp_path, "train", 8)
    first = load(tmp_path)
    assert load(tmp_path).fingerprint == first.fingerprint
    write_pair(tmp_path / "images/train", tmp_path / "masks/train", "train_002", color=200)
    second = load(tmp_path)
    assert second.fingerprint != first.fingerprint
    assert second.train.ids == first.train.ids and not np.array_equal(second.train.images, first.train.images)


def _no_folder(root: Path) -> Path:
    return root / "nowhere"


def _empty(root: Path) -> Path:
    (root / "images").mkdir()
    (root / "masks").mkdir()
    return root


def _unreadable(root: Path) -> Path:
    fill(root, "train", 8)
    (root / "images/train/train_002.jpg").write_bytes(b"no jpeg at all")
    return root


def _truncated(root: Path) -> Path:
    fill(root, "train", 8)
    path = root / "images/train/train_002.jpg"
    path.write_bytes(path.read_bytes()[:-300])
    return root


def _unknown_id(root: Path) -> Path:
    fill(root, "train", 8)
    (root / "classes.toml").write_text('names = ["a", "b"]')
    mask = np.zeros((48, 64), np.uint8)
    mask[0, 0] = 7
    write_pair(root / "images/train", root / "masks/train", "train_002", mask)
    return root


def _other_size(root: Path) -> Path:
    fill(root, "train", 8)
    Image.fromarray(np.zeros((10, 12), np.uint8)).save(root / "masks/train/train_002.png")
    return root


def _color_mask(root: Path) -> Path:
    fill(root, "train", 8)
    (root / "classes.toml").write_text('names = ["a", "b"]')
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(root / "masks/train/train_002.png")
    return root


def _no_mask(root: Path) -> Path:
    fill(root, "train", 8)
    (root / "masks/train/train_002.png").unlink()
    return root


def _bad_classes(root: Path) -> Path:
    fill(root, "train", 8)
    (root / "classes.toml").write_text('name = ["a", "b"]')
    return root


def _too_few(root: Path) -> Path:
    fill(root, "train", 3)
    return root


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_no_folder, r"no folder .*nowhere"),
        (_empty, r"no images with masks"),
        (_unreadable, r"unreadable image .*train_002\.jpg"),
        (_truncated, r"unreadable image .*train_002\.jpg"),
        (_unknown_id, r"mask .*train_002\.png holds unknown class id 7: known are 0 to 1, and 255"),
        (_other_size, r"mask .*train_002\.png is 12x10 but its image train_002\.jpg is 64x48"),
        (_color_mask, r"mask .*train_002\.png is RGB"),
        (_no_mask, r"train_002\.jpg has no mask"),
        (_bad_classes, r"classes\.toml"),
        (_too_few, r"holds 3 images, too few"),
    ],
)
def test_bad_folders_are_one_line_that_names_the_file(tmp_path: Path, make: object, message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        load(make(tmp_path))  # type: ignore[operator]
    assert "\n" not in str(raised.value)


@pytest.mark.skipif(not CAMVID.is_dir(), reason="CamVid is not here")
def test_camvid_keeps_val_for_the_test_and_neighbouring_frames_together() -> None:
    source = load_source(f"folder:{CAMVID}", area=96 * 128, amounts=AMOUNTS)
    assert (len(source.test), len(source.classes), source.classes.ignore) == (101, 11, 11)
    assert len(source.train) + len(source.search) + len(source.certify) == 367
    assert min(len(source.search), len(source.certify)) >= 40
    seams = 0
    side = {name: split.name for split in (source.train, source.search, source.certify) for name in split.ids}
    for prefix in ("0001TP", "0006R0", "0016E5"):
        sides = [side[name] for name in sorted(side) if name.startswith(prefix)]
        seams += sum(a != b for a, b in pairwise(sides))
    assert seams == 4 * 3, "each sequence gives one block to search and one to certify"
