from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from device_profiler import debian
from device_profiler.errors import InputError
from pipeline.data import DataAmounts, load_source, sample, shapes
from pipeline.data.cutting import contiguous_blocks, sequence_of
from pipeline.data.source import default_size
from pipeline.progress import SilentProgress

AMOUNTS = DataAmounts(train=6, search=3, certify=2, test=4)


@pytest.mark.usefixtures("own_cache")
def test_shapes_have_the_amounts_asked_for_and_the_same_pixels_every_time() -> None:
    source = load_source("shapes", size=(64, 96), area=0, amounts=AMOUNTS)
    assert [len(source.split(name)) for name in ("train", "search", "certify", "test")] == [6, 3, 2, 4]
    image, mask = shapes.draw("test", 2, (64, 96))
    assert np.array_equal(source.test[2].image, image) and np.array_equal(source.test[2].mask, mask)
    assert not np.array_equal(source.test[2].image, source.train[2].image)


def test_shapes_hold_every_class_exactly_where_it_is_drawn() -> None:
    masks = [shapes.draw("train", index, (64, 64))[1] for index in range(60)]
    share = np.bincount(np.concatenate([mask.ravel() for mask in masks]), minlength=5) / (60 * 64 * 64)
    assert (share > 0.01).all() and share[0] > 0.4


@pytest.mark.usefixtures("own_cache")
def test_an_interrupted_build_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = shapes.draw, Counter[str]()

    def interrupted(split: str, index: int, size: tuple[int, int]) -> object:
        calls["made"] += 1
        if calls["made"] == 5:
            raise KeyboardInterrupt
        return real(split, index, size)

    monkeypatch.setattr(shapes, "draw", interrupted)
    amounts = DataAmounts(train=5, search=1, certify=1, test=1)
    with pytest.raises(KeyboardInterrupt):
        load_source("shapes", size=(32, 32), area=0, amounts=amounts)
    assert len(load_source("shapes", size=(32, 32), area=0, amounts=amounts).train) == 5


@pytest.mark.parametrize("spec", ["", "smaple", "folder:", "shapes:3", "coco"])
def test_unknown_sources_list_the_known(spec: str) -> None:
    with pytest.raises(InputError, match="choose sample, shapes, folder:PATH, voc:PATH, coco:PATH, or cityscapes:PATH"):
        load_source(spec, area=64 * 64, amounts=AMOUNTS)


@pytest.mark.usefixtures("own_cache")
def test_without_apt_sample_offers_what_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "_missing", lambda: "this machine has no apt-get and dpkg-deb")
    with pytest.raises(InputError, match=r"no apt-get.*shapes or folder:PATH"):
        load_source("sample", area=64 * 64, amounts=AMOUNTS)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("animals/mammals/cats/lion.png", 1),
        ("animals/birds/owl.png", 2),
        ("animals/birds/cartoon/owl.png", None),
        ("animals/fish/carp.png", 3),
        ("food/nuts/walnut.png", 4),
        ("food/dessert/pie.png", None),
        ("vehicles/auto/bug.png", 6),
        ("symbols/money/us/coins/cent.png", None),
        ("town/roadsigns/stop.png", 7),
    ],
)
def test_cut_outs_are_classed_by_folder(name: str, label: int | None) -> None:
    assert sample.stamp_class(name) == label


def test_mirrored_and_numbered_pictures_of_one_object_share_a_pool() -> None:
    names = ["a/lion.png", "a/lion_mirror.png", "a/lion2.png", "a/lion-3_mirror.png", "b/lion.png"]
    assert [sample.stamp_group(name) for name in names] == ["a/lion"] * 4 + ["b/lion"]


def test_pools_are_disjoint_and_have_their_shares() -> None:
    pools = sample.assign_pools(f"group{index}" for index in range(100))
    assert Counter(pools.values()) == {"train": 66, "held": 14, "test": 20}
    assert pools == sample.assign_pools(reversed([f"group{index}" for index in range(100)]))


def _fake_packages(root: Path) -> sample.SamplePackages:
    """Packages with one cut-out a class and pool, and photos of one colour each."""
    from importlib import resources

    from PIL import Image

    folders = {1: "animals/mammals", 2: "animals/birds", 3: "animals/fish", 4: "food/fruit", 5: "plants"}
    folders |= {6: "vehicles/auto", 7: "town/roadsigns", 8: "household"}
    for label, folder in folders.items():
        for name in ("one", "two", "three", "three_mirror"):
            path = root / "stamps" / folder / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.zeros((60, 60, 4), np.uint8)
            pixels[10:50, 10:50] = (label * 30, 128, 255 - label * 30, 255)
            Image.fromarray(pixels).save(path)
    for index, name in enumerate(resources.files("pipeline.data").joinpath("sample_photos.txt").read_text().split()):
        path = root / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((80, 120, 3), index * 10, np.uint8)).save(path)
    return sample.SamplePackages(root / "stamps", root / "photos", ("1", "1"))


def test_sample_images_are_composed_by_number_with_objects_and_photos_on_one_side(tmp_path: Path) -> None:
    recipe = sample.SampleRecipe.open(_fake_packages(tmp_path), (64, 96), SilentProgress())
    image, mask = recipe.compose("train", 3)
    again = recipe.compose("train", 3)
    assert image.shape == (64, 96, 3) and mask.shape == (64, 96)
    assert np.array_equal(image, again[0]) and np.array_equal(mask, again[1])
    assert set(np.unique(mask)) > {0} and mask.max() <= 8
    groups = {
        pool: {sample.stamp_group(stamp.name) for stamps in by_class.values() for stamp in stamps}
        for pool, by_class in recipe.stamps.items()
    }
    assert all(groups.values()) and not groups["train"] & groups["test"] and not groups["train"] & groups["held"]
    photos = {pool: {photo.getpixel((0, 0)) for photo in of_pool} for pool, of_pool in recipe.photos.items()}
    assert all(photos.values()) and not photos["train"] & photos["test"] and not photos["held"] & photos["test"]


@pytest.mark.slow
@pytest.mark.skipif(not debian.available(), reason="no apt here")
def test_the_real_packages_give_every_class_in_every_pool() -> None:
    recipe = sample.SampleRecipe.open(sample.fetch_packages(), (64, 64), SilentProgress())
    for pool, by_class in recipe.stamps.items():
        assert set(by_class) == set(range(1, 9)) and all(by_class.values()), pool
        assert len(recipe.photos[pool]) >= 3


def test_sequences_are_names_up_to_the_last_number() -> None:
    assert [sequence_of(s) for s in ("0016E5_08610", "0006R0_f01020", "photo", "a12b")] == [
        "0016E5_",
        "0006R0_f",
        "photo",
        "a",
    ]


def test_blocks_are_contiguous_in_numerical_order_and_short_sequences_stay_whole() -> None:
    stems = [f"s{index}" for index in range(20)] + ["t1", "t2", "t10"]
    blocks = contiguous_blocks(stems)
    assert [frame for block in blocks for frame in block] == stems
    assert len(blocks) == 9 and blocks[-1] == ["t1", "t2", "t10"]


@pytest.mark.parametrize(
    ("aspect", "area", "expected"),
    [(1.0, 256 * 256, (256, 256)), (4 / 3, 224 * 288, (224, 288)), (0.5, 128 * 64, (128, 64)), (1, 64 * 64, (64, 64))],
)
def test_default_sizes_keep_the_aspect_near_the_area(aspect: float, area: int, expected: tuple[int, int]) -> None:
    assert default_size(aspect, area) == expected
