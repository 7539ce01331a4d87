"""statistics.npz: the schema, its round trip, and one clear line for every way to break it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from search_tables import random_statistics

from device_profiler.errors import InputError
from pipeline.exit_statistics import ExitStatistics, mean_iou


@pytest.fixture
def statistics() -> ExitStatistics:
    return random_statistics(5, exits=3, heads=2, images=5, classes=3)


def arrays(statistics: ExitStatistics, path: Path) -> dict[str, np.ndarray]:
    statistics.save(path)
    with np.load(path) as archive:
        return dict(archive)


def test_round_trip(statistics: ExitStatistics, tmp_path: Path) -> None:
    full = replace(statistics, precision="int8", reference=(2, 0))
    full.save(tmp_path / "statistics.npz")
    loaded = ExitStatistics.load(tmp_path / "statistics.npz")
    assert (loaded.exits, loaded.heads, loaded.classes, loaded.images) == (
        full.exits,
        full.heads,
        full.classes,
        full.images,
    )
    assert (loaded.reference, loaded.policy, loaded.precision) == ((2, 0), "mean", "int8")
    np.testing.assert_array_equal(loaded.confidence, full.confidence)
    np.testing.assert_array_equal(loaded.union, full.union)
    assert loaded.confidence.dtype == np.float32


def test_reference_defaults_to_the_last_exits_first_head(statistics: ExitStatistics, tmp_path: Path) -> None:
    content = arrays(statistics, tmp_path / "a.npz")
    del content["reference"]
    content["heads"][2] = ["", "head1"]
    np.savez(tmp_path / "b.npz", **content)
    content["confidence"][2, 1] = 0.5
    content["union"][2, 1] = content["intersection"][2, 1] = 1
    np.savez(tmp_path / "b.npz", **content)
    assert ExitStatistics.load(tmp_path / "b.npz").reference == (2, 1)


def test_miou_sums_over_the_set_and_skips_absent_classes() -> None:
    intersection = np.array([[1, 0, 0], [3, 2, 0]])
    union = np.array([[2, 0, 0], [8, 4, 0]])
    # Sums are 4/10 and 2/4; the mean of per-image values would be another figure.
    assert mean_iou(intersection.sum(0), union.sum(0)) == pytest.approx((0.4 + 0.5) / 2)
    assert mean_iou(np.zeros(2, int), np.zeros(2, int)) == 0.0


def test_miou_agrees_with_torchmetrics() -> None:
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("torchmetrics.classification")
    generator = np.random.default_rng(0)
    target, guess = generator.integers(0, 4, (2, 6, 8, 8))
    guess[guess == 3] = 2
    metric = metrics.MulticlassJaccardIndex(4, average="macro")
    expected = metric(torch.tensor(guess), torch.tensor(target)).item()
    inter = np.array([((guess == c) & (target == c)).sum() for c in range(4)])
    union = np.array([((guess == c) | (target == c)).sum() for c in range(4)])
    assert mean_iou(inter, union) == pytest.approx(expected, abs=1e-6)


def test_class_iou_is_nan_where_a_class_is_nowhere(statistics: ExitStatistics) -> None:
    union, inter = statistics.union.copy(), statistics.intersection.copy()
    union[2, 0, :, 1] = inter[2, 0, :, 1] = 0
    iou = replace(statistics, union=union, intersection=inter).class_iou(2, 0)
    assert np.isnan(iou[1])
    assert np.nanmean(iou) == pytest.approx(replace(statistics, union=union, intersection=inter).miou(2, 0))


def broken(content: dict[str, np.ndarray], key: str, value: object) -> dict[str, np.ndarray]:
    changed = {name: array.copy() for name, array in content.items()}
    if value is None:
        del changed[key]
    elif callable(value):
        value(changed[key])
    else:
        changed[key] = np.asarray(value)
    return changed


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("confidence", lambda a: a.__setitem__((2, 0, 1), np.nan), "must be in [0, 1]"),
        ("confidence", lambda a: a.__setitem__((2, 0, 1), 1.5), "image1: must be in [0, 1]"),
        ("confidence", np.zeros((3, 2, 4), np.float32), "confidence has shape [3, 2, 4]"),
        ("confidence", np.zeros((3, 2, 5)), "must be float32"),
        ("union", lambda a: a.__setitem__((2, 0, 1, 0), -1), "must be 0 <= intersection <= union"),
        ("intersection", lambda a: a.__setitem__((2, 0, 1, 0), 10**6), "must be 0 <= intersection <= union"),
        ("intersection", np.zeros((3, 2, 5, 2), np.int64), "intersection has shape"),
        ("union", np.ones((3, 2, 5, 3)), "must be int64"),
        ("images", np.array([], dtype="U4"), "no images"),
        ("exits", np.array(["a", "a", "b"]), "not distinct"),
        ("heads", np.array([["x", "x"]] * 3), "not distinct"),
        ("heads", np.full((3, 2), ""), "no head"),
        ("reference", np.array([7, 0]), "reference [7, 0] has no head"),
        ("reference", np.array([1.5, 0]), "must be int [2]"),
        ("policy", None, "policy missing"),
        ("thresholds", np.zeros(3), "unknown key thresholds"),
    ],
)
def test_bad_files_are_one_clear_line(
    statistics: ExitStatistics, tmp_path: Path, key: str, value: object, words: str
) -> None:
    np.savez(tmp_path / "bad.npz", **broken(arrays(statistics, tmp_path / "good.npz"), key, value))
    with pytest.raises(InputError) as caught:
        ExitStatistics.load(tmp_path / "bad.npz")
    assert words in str(caught.value)
    assert "bad.npz" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04broken"])
def test_a_file_that_is_no_npz(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.npz"):
        ExitStatistics.load(tmp_path / "bad.npz")


def test_a_pickle_is_refused(statistics: ExitStatistics, tmp_path: Path) -> None:
    content = arrays(statistics, tmp_path / "good.npz")
    content["exits"] = np.array(["a", "b", {"c"}], dtype=object)
    np.savez(tmp_path / "bad.npz", **content)
    with pytest.raises(InputError):
        ExitStatistics.load(tmp_path / "bad.npz")
    with pytest.raises(InputError, match="does not exist"):
        ExitStatistics.load(tmp_path / "absent.npz")
