"""Statistics of the int8 network: its exported parts, chained on the host as they will be on the device."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from device_profiler.workload import Array
from mobile_export.artifact import Artifact
from mobile_export.boundary import to_real, to_stored
from mobile_export.exporters import Calibration
from mobile_export.session import HostSession
from pipeline.data.source import Split
from pipeline.evaluation import Counts, label_map, overlap, to_images
from pipeline.exit_statistics import ExitStatistics
from pipeline.model import ModelSpec, MultiExitModel
from pipeline.partition import block_entry, finish_entry, head_entry
from pipeline.policy_name import parse_policy
from pipeline.progress import Advance, Progress

CALIBRATION_IMAGES = 48
WORKERS = 2


def calibration_images(train: Split) -> NDArray[np.float32]:
    """Images [N, 3, H, W] in 0..255 for calibration, spread evenly over the training split."""
    chosen = np.linspace(0, len(train) - 1, min(CALIBRATION_IMAGES, len(train))).astype(int)
    images: NDArray[np.float32] = to_images(np.stack([train[int(i)].image for i in chosen])).numpy()
    return images


@torch.inference_mode()
def features_of(model: MultiExitModel, images: NDArray[np.float32]) -> list[list[NDArray[np.float32]]]:
    """Per exit, the real features [1, C, h, w] of every image."""
    rows = [model.forward_features(torch.from_numpy(images[i : i + 1])) for i in range(len(images))]
    return [[row[e].numpy() for row in rows] for e in range(len(model.spec.exits))]


@torch.inference_mode()
def parts_calibration(model: MultiExitModel, policy: str, images: NDArray[np.float32]) -> Calibration:
    """Real inputs of every part under an exit policy: what the fp32 network computes on `images`."""
    asks_witness = parse_policy(policy).asks_witness
    features = features_of(model, images)
    single = [images[i : i + 1] for i in range(len(images))]
    calibration: dict[str, Sequence[tuple[Array, ...]]] = {}
    for e, names in enumerate(model.spec.heads):
        calibration[block_entry(e)] = [(x,) for x in (features[e - 1] if e else single)]
        before = (features[e - 1],) if asks_witness and e else ()
        calibration |= {head_entry(e, name): list(zip(features[e], *before, strict=True)) for name in names}
        logits = [model.head(e, names[0])(torch.from_numpy(x)).numpy() for x in features[e]]
        calibration[finish_entry(e)] = [(x,) for x in logits]
    return calibration


@dataclass(frozen=True, eq=False)
class _Chain:
    """One worker's chain of parts over images of a split."""

    artifact: Artifact
    spec: ModelSpec
    split: Split
    ignore: int
    counts: Counts
    session: HostSession = field(repr=False)

    def image(self, index: int) -> None:
        """Run every block, head and finish on one image and note what they say."""
        sample = self.split[index]
        stored = to_stored(self.artifact.entry(block_entry(0)).inputs[0], to_images(sample.image[None]).numpy())
        for e, names in enumerate(self.spec.heads):
            before, (stored,) = stored, self.session.run(block_entry(e), (stored,))
            for h, name in enumerate(names):
                taken = len(self.artifact.entry(head_entry(e, name)).inputs)
                logits, confidence = self.session.run(head_entry(e, name), (stored, before)[:taken])
                (labels,) = self.session.run(finish_entry(e), (logits,))
                real = to_real(self.artifact.entry(head_entry(e, name)).outputs[1], confidence)
                self.counts.confidence[e, h, index] = np.clip(real.reshape(-1)[0], 0, 1)
                counted = overlap(label_map(labels, sample.image), sample.mask, len(self.spec.classes), self.ignore)
                self.counts.intersection[e, h, index], self.counts.union[e, h, index] = counted


def quantized_statistics(
    artifact: Artifact, file: Path, spec: ModelSpec, split: Split, ignore: int, policy: str, progress: Progress
) -> ExitStatistics:
    """Confidence and overlaps of every exit and head on every image, by the int8 parts themselves.

    Raises:
        VerificationError: the runtime refused a part or crashed.
    """
    counts = Counts.empty(spec, len(split))

    def work(worker: int, advance: Advance) -> None:
        with HostSession(file, artifact.runtime) as session:
            chain = _Chain(artifact, spec, split, ignore, counts, session)
            for index in range(worker, len(split), WORKERS):
                chain.image(index)
                advance(1, "")

    with progress.task(f"int8 statistics ({split.name})", len(split)) as advance, ThreadPoolExecutor(WORKERS) as pool:
        for done in [pool.submit(work, worker, advance) for worker in range(WORKERS)]:
            done.result()
    return counts.statistics(spec, split, policy, artifact.precision)
