"""Batches of augmented images: what step n sees depends on the seed and n alone, so training resumes anywhere."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.data.source import Bytes, Sample, Split

GREY = 127
AHEAD = 3


@dataclass(frozen=True, eq=False)
class Batch:
    """Images float32 [B, H, W, 3] in 0..255 and labels int64 [B, H, W] of step `step`; `ids` name the images."""

    step: int
    ids: tuple[str, ...]
    images: NDArray[np.float32]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Augmentation:
    """Random enlargement within `scale`, crop, mirror, and photometric change; `ignore` fills what lies outside."""

    scale: tuple[float, float]
    photometric: float
    ignore: int

    def apply(self, rng: np.random.Generator, image: Bytes, mask: Bytes) -> tuple[NDArray[np.float32], Bytes]:
        """An augmented image float32 [H, W, 3] and its mask, of the size that came in."""
        image, mask = self._rescaled(rng, image, mask)
        if rng.random() < 0.5:
            image, mask = image[:, ::-1], mask[:, ::-1]
        return self._relit(rng, image), mask

    def _rescaled(self, rng: np.random.Generator, image: Bytes, mask: Bytes) -> tuple[Bytes, Bytes]:
        height, width = mask.shape
        factor = float(np.exp(rng.uniform(*np.log(self.scale))))
        y, x = rng.random(2)
        if factor >= 1:
            h, w = height / factor, width / factor
            box = (x * (width - w), y * (height - h), x * (width - w) + w, y * (height - h) + h)
            return _resized(image, mask, (width, height), box)
        small = (max(1, round(width * factor)), max(1, round(height * factor)))
        inner_image, inner_mask = _resized(image, mask, small, (0, 0, width, height))
        top, left = int(y * (height - small[1])), int(x * (width - small[0]))
        image, mask = np.full_like(image, GREY), np.full_like(mask, self.ignore)
        inside = (slice(top, top + small[1]), slice(left, left + small[0]))
        image[inside], mask[inside] = inner_image, inner_mask
        return image, mask

    def _relit(self, rng: np.random.Generator, image: Bytes) -> NDArray[np.float32]:
        contrast, saturation = (np.float32(v) for v in 1 + self.photometric * rng.uniform(-1, 1, 2))
        shift = (128 * self.photometric * rng.uniform(-1, 1) + 20 * self.photometric * rng.uniform(-1, 1, 3)).astype(
            np.float32
        )
        pixels = image.astype(np.float32)
        grey = pixels.mean(axis=2, keepdims=True)
        pixels = np.asarray((grey + (pixels - grey) * saturation - GREY) * contrast + GREY + shift, np.float32)
        pixels.clip(0, 255, out=pixels)
        return pixels


def _resized(
    image: Bytes, mask: Bytes, size: tuple[int, int], box: tuple[float, float, float, float]
) -> tuple[Bytes, Bytes]:
    bigger = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, box=box)
    labels = Image.fromarray(mask).resize(size, Image.Resampling.NEAREST, box=box)
    return np.asarray(bigger), np.asarray(labels)


@dataclass(frozen=True)
class BatchStream:
    """The batches of one stage; a worker thread makes them ahead of their use.

    Of several processes, number `rank` takes every `processes`-th image of a batch.
    """

    split: Split
    augmentation: Augmentation
    size: int
    seed: tuple[int, ...]
    rank: int = 0
    processes: int = 1

    def make(self, step: int) -> Batch:
        """The batch of step `step`, from 0."""
        places = [step * self.size + position for position in range(self.rank, self.size, self.processes)]
        samples = [self._sample(place) for place in places]
        pairs = [self._augmented(place, sample) for place, sample in zip(places, samples, strict=True)]
        images, masks = zip(*pairs, strict=True)
        ids = tuple(sample.id for sample in samples)
        return Batch(step, ids, np.stack(images), np.stack(masks).astype(np.int64))

    def _sample(self, position: int) -> Sample:
        """Image number `position` of the stage: every image is seen once before any is seen again."""
        epoch, place = divmod(position, len(self.split))
        order = np.random.default_rng((*self.seed, 0, epoch)).permutation(len(self.split))
        return self.split[int(order[place])]

    def _augmented(self, position: int, sample: Sample) -> tuple[NDArray[np.float32], Bytes]:
        return self.augmentation.apply(np.random.default_rng((*self.seed, 1, position)), sample.image, sample.mask)

    def between(self, start: int, end: int) -> Iterator[Batch]:
        """Batches of the steps `start` to `end` - 1, made ahead in a thread of their own."""
        pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
        try:
            waiting: list[Future[Batch]] = [pool.submit(self.make, s) for s in range(start, min(end, start + AHEAD))]
            for step in range(start, end):
                batch = waiting.pop(0).result()
                if step + AHEAD < end:
                    waiting.append(pool.submit(self.make, step + AHEAD))
                yield batch
        finally:
            pool.shutdown(cancel_futures=True)
