import numpy as np
import pytest

from pipeline.data.source import Split
from pipeline.training import StageSchedule
from pipeline.training.augmentation import Augmentation
from pipeline.training.batches import BatchStream
from pipeline.training.loop import rate_factor

SIZE = (32, 48)


@pytest.fixture
def split() -> Split:
    """Images whose mask is class 1 exactly where they are bright."""
    rng = np.random.default_rng(0)
    masks = np.zeros((6, *SIZE), np.uint8)
    for mask in masks:
        top, left = rng.integers(0, 16, 2)
        mask[top : top + 16, left : left + 20] = 1
    images = np.repeat(np.where(masks, 220, 30).astype(np.uint8)[..., None], 3, axis=3)
    return Split("train", tuple("abcdef"), images, masks)


def _stream(split: Split, scale: tuple[float, float] = (0.7, 1.8), photometric: float = 0.0) -> BatchStream:
    return BatchStream(split, Augmentation(scale, photometric, ignore=255), 3, (0, 1))


def test_masks_follow_their_images_through_every_augmentation(split: Split) -> None:
    stream = _stream(split)
    for step in range(8):
        batch = stream.make(step)
        assert batch.images.shape == (3, *SIZE, 3) and batch.images.dtype == np.float32
        bright = batch.images[..., 0] > 128
        valid = batch.labels != 255
        assert (bright == (batch.labels == 1))[valid].mean() > 0.97


def test_every_image_is_seen_once_an_epoch(split: Split) -> None:
    plain = _stream(split, scale=(1.0, 1.0))
    for epoch in range(3):
        seen = [label for step in (2 * epoch, 2 * epoch + 1) for label in plain.make(step).labels]
        originals = [min(m.tobytes(), m[:, ::-1].tobytes()) for m in split.masks.astype(np.int64)]
        assert sorted(min(m.tobytes(), m[:, ::-1].tobytes()) for m in seen) == sorted(originals)


def test_what_a_step_sees_depends_on_its_number_alone(split: Split) -> None:
    stream = _stream(split, photometric=0.3)
    from_start = list(stream.between(0, 7))
    resumed = list(stream.between(4, 7))
    assert [batch.step for batch in resumed] == [4, 5, 6]
    for late, early in zip(resumed, from_start[4:], strict=True):
        assert np.array_equal(late.images, early.images) and np.array_equal(late.labels, early.labels)
    assert not np.array_equal(from_start[0].images, from_start[1].images)


def test_shrunk_images_are_surrounded_by_ignored_pixels(split: Split) -> None:
    batch = _stream(split, scale=(0.5, 0.5)).make(0)
    assert (batch.labels == 255).mean() == pytest.approx(0.75, abs=0.01)
    assert np.allclose(batch.images[batch.labels == 255], 127, atol=1e-3)


def test_an_error_in_the_worker_reaches_the_training(split: Split) -> None:
    broken = Split("train", split.ids, split.images[:2], split.masks[:2])
    with pytest.raises(IndexError):
        list(_stream(broken).between(0, 4))


def test_rates_warm_up_and_fall_to_nothing() -> None:
    schedule = StageSchedule(steps=100, batch=1, head_rate=1.0, warmup=10)
    factors = [rate_factor(step, schedule) for step in range(100)]
    assert factors[0] < 0.1 and max(factors) == factors[10] < 1 and factors[-1] < 0.02
    assert factors[55] == pytest.approx(0.45**0.9)


def test_processes_share_the_images_of_a_batch(split: Split) -> None:
    stream = _stream(split, photometric=0.3)
    whole = stream.make(1)
    shares = [BatchStream(split, stream.augmentation, 3, (0, 1), rank, 3).make(1) for rank in range(3)]
    assert [share.ids for share in shares] == [(name,) for name in whole.ids]
    assert all(np.array_equal(share.images[0], image) for share, image in zip(shares, whole.images, strict=True))
