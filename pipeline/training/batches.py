"""Batches of augmented images: what step n sees depends on the seed and n alone, so training resumes anywhere."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.data.source import Bytes, Sample, Split
from pipeline.training.augmentation import Augmentation

AHEAD = 3


@dataclass(frozen=True, eq=False)
class Batch:
    """Images float32 [B, H, W, 3] in 0..255 and labels int64 [B, H, W] of step `step`; `ids` name the images."""

    step: int
    ids: tuple[str, ...]
    images: NDArray[np.float32]
    labels: NDArray[np.int64]


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
