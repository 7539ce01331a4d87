"""Labels of several input sizes are compared at one, on the same scenes: else their mIoU means different pixels."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.data import DataAmounts, DataSource, load_source
from pipeline.data.common_grid import common_size, compared_at
from pipeline.data.folder import resize_image
from pipeline.evaluation import evaluate, overlap, resized_labels, to_images
from pipeline.exit_statistics import mean_iou
from pipeline.model import build_model, design_model
from pipeline.network import comparable, prepare_network
from pipeline.network_request import NetworkRequest
from pipeline.policy import Finish
from pipeline.presets import find_preset
from pipeline.progress import SilentProgress
from pipeline.seen import HELD_OUT, as_seen
from pipeline.workspace import Workspace

AMOUNTS = DataAmounts(train=3, search=2, certify=2, test=4)
SMALL, GRID = (32, 32), (64, 96)
sides = st.integers(1, 40)


def loaded(spec: str, size: tuple[int, int]) -> DataSource:
    return load_source(spec, size=size, area=0, amounts=AMOUNTS)


@given(of=st.tuples(sides, sides), to=st.tuples(sides, sides))
def test_resized_labels_are_those_of_the_nearest_pixel(of: tuple[int, int], to: tuple[int, int]) -> None:
    places = np.arange(of[0] * of[1]).reshape(of)
    rows, columns = np.divmod(resized_labels(places, to), of[1])
    for found, there, here in ((rows[:, 0], of[0], to[0]), (columns[0], of[1], to[1])):
        wanted = (np.arange(here) + 0.5) / here
        distances = abs((np.arange(there) + 0.5)[None] / there - wanted[:, None])
        assert np.allclose(distances[np.arange(here), found], distances.min(axis=1))
    whole = resized_labels(places, (3 * of[0], 5 * of[1]))
    assert np.array_equal(whole, places.repeat(3, axis=0).repeat(5, axis=1))


def test_no_size_exceeds_the_common_one() -> None:
    assert common_size([(32, 96), (64, 64)]) == (64, 96)
    assert common_size([(32, 96)]) == (32, 96)


@pytest.mark.usefixtures("own_cache")
def test_composed_scenes_are_those_of_the_size_compared_at() -> None:
    small, finest = loaded("shapes", SMALL), loaded("shapes", GRID)
    compared = compared_at(small, finest)
    for name in HELD_OUT:
        own, fine = compared.split(name), finest.split(name)
        assert own.ids == fine.ids and np.array_equal(own.masks, fine.masks)
        assert own.images.shape == (len(own), *SMALL, 3)
        for ours, theirs in zip(own.images, fine.images, strict=True):
            assert np.array_equal(ours, resize_image(Image.fromarray(theirs), SMALL))
    assert compared.train is small.train and compared.size == SMALL and compared.label_size == GRID
    assert compared.fingerprint not in (small.fingerprint, finest.fingerprint)
    assert compared.rule == f"{small.rule}; labels of search, certify and test compared at 96x64"
    assert compared_at(finest, loaded("shapes", GRID)) is finest


@pytest.mark.usefixtures("own_cache")
def test_photos_are_read_at_the_size_of_the_network_and_masks_at_the_one_compared_at(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for part, shape in (("images", (120, 90, 3)), ("masks", (120, 90))):
            (tmp_path / part / split).mkdir(parents=True)
            for n in range(8):
                pixels = rng.integers(0, 2 if part == "masks" else 256, shape, dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / part / split / f"{n}.png")
    small, finest = loaded(f"folder:{tmp_path}", SMALL), loaded(f"folder:{tmp_path}", GRID)
    compared = compared_at(small, finest)
    for name in HELD_OUT:
        assert np.array_equal(compared.split(name).images, small.split(name).images)
        assert np.array_equal(compared.split(name).masks, finest.split(name).masks)


@pytest.mark.usefixtures("own_cache")
def test_what_a_small_label_map_can_not_show_counts_against_it() -> None:
    """Right at every pixel of its own size, a small map is wrong at the pixels between."""
    small, finest = loaded("shapes", SMALL), loaded("shapes", GRID)
    compared = compared_at(small, finest)
    for split, perfect in ((small.test, True), (compared.test, False)):
        answers = [resized_labels(mask, SMALL) for mask in split.masks]
        found = [overlap(*pair, len(small.classes), 255) for pair in zip(answers, split.masks, strict=True)]
        miou = mean_iou(*(np.sum(part, axis=0) for part in zip(*found, strict=True)))
        assert miou == 1.0 if perfect else 0.5 < miou < 0.98


@pytest.mark.usefixtures("own_cache")
def test_a_network_made_comparable_keeps_its_size_and_what_it_is_trained_on(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, SilentProgress())
    request = NetworkRequest(find_preset("smoke"), size=SMALL)
    network, larger = (prepare_network(replace(request, size=size), workspace) for size in (SMALL, GRID))
    assert comparable(network, (), workspace) is network
    assert comparable(larger, (SMALL, GRID), workspace) is larger
    found = comparable(network, (GRID, (96, 32)), workspace)
    assert found.source.label_size == (96, 96) and found.source.train is network.source.train
    assert found.spec == network.spec and found.source.size == SMALL


@pytest.mark.usefixtures("own_cache")
def test_networks_are_evaluated_at_the_size_compared_at(tmp_path: Path) -> None:
    source = compared_at(loaded("shapes", SMALL), loaded("shapes", GRID))
    model = build_model(design_model(source.classes.names, SMALL, exits=2, heads=("fcn-r4",)), seed=1)
    statistics = evaluate(model, source.test, SilentProgress(), ignore=255)
    assert statistics.union[0, 0].sum(axis=1).min() >= GRID[0] * GRID[1]
    finish = Finish(SMALL)
    for i, sample in enumerate(source.test):
        labels = finish(model(to_images(sample.image[None]))[1][0])[0].detach().numpy()
        enlarged = np.asarray(Image.fromarray(labels.astype(np.uint8)).resize(GRID[::-1], Image.Resampling.NEAREST))
        for c in range(len(source.classes)):
            assert statistics.intersection[1, 0, i, c] == ((enlarged == c) & (sample.mask == c)).sum()
            assert statistics.union[1, 0, i, c] == ((enlarged == c) | (sample.mask == c)).sum()
    seen = as_seen(source, (64, 64), Workspace(tmp_path, SilentProgress()))
    assert seen.test.images.shape[1:3] == SMALL and np.array_equal(seen.test.masks, source.test.masks)
