"""VOC, COCO and Cityscapes, read from small trees in their published layout."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from device_profiler.errors import InputError
from pipeline.data import DataAmounts, DataSource, load_source
from pipeline.data.coco import CATEGORIES
from pipeline.data.voc import VOC_NAMES

AMOUNTS = DataAmounts(train=4, search=2, certify=2, test=2)
SIZE = (64, 96)
pytestmark = pytest.mark.usefixtures("own_cache")


def load(kind: str, root: Path) -> DataSource:
    return load_source(f"{kind}:{root}", size=SIZE, area=0, amounts=AMOUNTS)


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def photo(shade: int) -> np.ndarray:
    return np.full((*SIZE, 3), shade, np.uint8)


def make_voc(root: Path, train: int = 12, val: int = 3) -> Path:
    folder = root / "VOCdevkit" / "VOC2012"
    for split, count in (("train", train), ("val", val)):
        names = [f"2007_{split == 'val':d}{index:05d}" for index in range(count)]
        (folder / "ImageSets" / "Segmentation").mkdir(parents=True, exist_ok=True)
        (folder / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("\n".join(names) + "\n")
        for shade, name in enumerate(names):
            save(folder / "JPEGImages" / f"{name}.jpg", photo(shade))
            mask = np.zeros(SIZE, np.uint8)
            mask[10:40, 20:60], mask[9, 20:60] = 15, 255
            palette = Image.fromarray(mask, mode="P")
            palette.putpalette([value for index in range(256) for value in (index, 0, 255 - index)])
            (folder / "SegmentationClass").mkdir(exist_ok=True)
            palette.save(folder / "SegmentationClass" / f"{name}.png")
    return folder


def test_voc_is_read_with_its_lists_palette_and_outlines(tmp_path: Path) -> None:
    make_voc(tmp_path)
    for place in (tmp_path, tmp_path / "VOCdevkit", tmp_path / "VOCdevkit" / "VOC2012"):
        source = load("voc", place)
        assert source.classes.names == VOC_NAMES and source.classes.ignore == 255
    assert set(np.unique(source.test.masks)) == {0, 15, 255}
    assert len(source.test) == 3 and not {*source.train.ids} & {*source.search.ids, *source.certify.ids}
    assert len(source.train) + len(source.search) + len(source.certify) == 12
    assert "test is the folder's val" in source.rule


def test_a_file_that_voc_lists_but_lacks_is_named(tmp_path: Path) -> None:
    folder = make_voc(tmp_path)
    (folder / "SegmentationClass" / "2007_000003.png").unlink()
    with pytest.raises(InputError, match=r"train\.txt lists 2007_000003, but .*2007_000003\.png is missing"):
        load("voc", tmp_path)


def square(left: int, top: int, side: int) -> list[list[float]]:
    right, bottom = left + side, top + side
    return [[left, top, right, top, right, bottom, left, bottom]]


def make_coco(root: Path) -> None:
    """Images 1 to 12 to train on (12 has too little to see), 1 to 3 to validate on."""
    for split, count in (("train", 12), ("val", 3)):
        images = [
            {"id": i, "file_name": f"{i:012d}.jpg", "height": SIZE[0], "width": SIZE[1]} for i in range(1, count + 1)
        ]
        objects = []
        for image in images:
            side = 5 if (split, image["id"]) == ("train", 12) else 40
            objects += [
                {"category_id": 1, "segmentation": square(0, 0, side), "area": side * side},
                {"category_id": 18, "segmentation": square(20, 20, side), "area": side * side},
                {"category_id": 90, "segmentation": square(70, 0, 20), "area": 400},
            ]
            crowd = {"counts": [64 * 90, 64, 64 * 5], "size": list(SIZE)}
            objects.append({"category_id": 3, "segmentation": crowd, "area": 64, "iscrowd": 1})
            for one in objects[-4:]:
                one |= {"image_id": image["id"], "id": len(objects) * 10 + one["category_id"], "bbox": [0, 0, 1, 1]}
            save(root / f"{split}2017" / str(image["file_name"]), photo(int(str(image["id"]))))
        (root / "annotations").mkdir(exist_ok=True)
        content = {
            "images": images,
            "annotations": objects,
            "categories": [{"id": i, "name": str(i)} for i in (1, 18, 3, 90)],
        }
        (root / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(content))


def test_coco_is_rasterised_to_the_voc_classes_with_overlaps_ignored(tmp_path: Path) -> None:
    make_coco(tmp_path)
    source = load("coco", tmp_path)
    person, dog, car = (VOC_NAMES.index(name) for name in ("person", "dog", "car"))
    assert (CATEGORIES[person], CATEGORIES[dog], CATEGORIES[car]) == (1, 18, 3)
    mask = np.asarray(source.test.masks[0])
    expected = np.zeros(SIZE, np.uint8)
    expected[0:40, 0:40] = person
    expected[20:60, 20:60] = dog
    expected[20:40, 20:40] = 255
    expected[:, 90] = car
    assert np.array_equal(mask, expected)
    assert source.classes.names == VOC_NAMES


def test_coco_leaves_out_training_images_with_too_little_to_see(tmp_path: Path) -> None:
    make_coco(tmp_path)
    source = load("coco", tmp_path)
    used = {*source.train.ids, *source.search.ids, *source.certify.ids}
    assert used == {f"{index:012d}" for index in range(1, 12)} and len(source.test) == 3


def test_an_image_that_coco_lists_but_lacks_is_named(tmp_path: Path) -> None:
    make_coco(tmp_path)
    (tmp_path / "val2017" / "000000000002.jpg").unlink()
    with pytest.raises(InputError, match=r"instances_val2017\.json lists image 2, but .*000000000002\.jpg is missing"):
        load("coco", tmp_path)


@pytest.mark.parametrize("segmentation", ["a square", [["left"]], [[]], {"counts": 3}, None])
def test_an_object_without_an_outline_is_named(segmentation: object, tmp_path: Path) -> None:
    make_coco(tmp_path)
    file = tmp_path / "annotations" / "instances_train2017.json"
    content = json.loads(file.read_text())
    content["annotations"][0]["segmentation"] = segmentation
    file.write_text(json.dumps(content))
    told = r"instances_train2017\.json: the segmentation of object 41 of 000000000001\.jpg is neither polygons nor"
    with pytest.raises(InputError, match=told):
        load("coco", tmp_path)


@pytest.mark.parametrize("content", ["{", "[1]", '{"images": [], "annotations": [{}]}'])
def test_annotations_that_are_none_are_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_train2017.json").write_text(content)
    with pytest.raises(InputError, match=r"instances_train2017\.json holds no COCO instance annotations"):
        load("coco", tmp_path)


def make_cityscapes(root: Path, suffix: str = "labelIds", value: int = 26) -> None:
    for split, count in (("train", 10), ("val", 2)):
        for index in range(count):
            stem = f"aachen_{index:06d}_000019"
            save(root / "leftImg8bit" / split / "aachen" / f"{stem}_leftImg8bit.png", photo(index))
            mask = np.full(SIZE, 7 if suffix == "labelIds" else 0, np.uint8)
            mask[:10], mask[20:30] = 4 if suffix == "labelIds" else 255, value
            save(root / "gtFine" / split / "aachen" / f"{stem}_gtFine_{suffix}.png", mask)


@pytest.mark.parametrize(("suffix", "value"), [("labelIds", 26), ("labelTrainIds", 13)])
def test_cityscapes_gives_training_ids_from_either_kind_of_mask(tmp_path: Path, suffix: str, value: int) -> None:
    make_cityscapes(tmp_path, suffix, value)
    source = load("cityscapes", tmp_path)
    car = source.classes.names.index("car")
    mask = np.asarray(source.test.masks[0])
    assert (mask[:10] == 255).all() and (mask[20:30] == car).all() and (mask[40:] == 0).all()
    assert len(source.classes) == 19 and len(source.test) == 2


def test_a_label_that_cityscapes_does_not_have_is_named_with_its_file(tmp_path: Path) -> None:
    make_cityscapes(tmp_path, value=77)
    with pytest.raises(InputError, match=r"mask .*labelIds\.png holds label id 77: Cityscapes has 0 to 33"):
        load("cityscapes", tmp_path)


def test_an_image_without_a_mask_is_named(tmp_path: Path) -> None:
    make_cityscapes(tmp_path)
    next(iter(sorted((tmp_path / "gtFine" / "train" / "aachen").iterdir()))).unlink()
    with pytest.raises(InputError, match=r"aachen_000000_000019_leftImg8bit\.png has no mask: expected .*labelIds"):
        load("cityscapes", tmp_path)


@pytest.mark.parametrize(("kind", "name"), [("voc", "PASCAL VOC"), ("coco", "COCO"), ("cityscapes", "Cityscapes")])
def test_a_folder_of_another_layout_is_refused_with_the_wanted_one(tmp_path: Path, kind: str, name: str) -> None:
    with pytest.raises(InputError, match=f"no {name} at .*--data {kind}:PATH needs"):
        load(kind, tmp_path)
