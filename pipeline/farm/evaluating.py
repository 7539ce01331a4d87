"""A network evaluated by all hosts of a farm: a split in chunks, each done by whichever host is free."""

from dataclasses import replace

import msgspec
import numpy as np

from pipeline.checkpoint import Checkpoint
from pipeline.data.source import Split
from pipeline.evaluation import BATCH, Counts, check_split
from pipeline.exit_statistics import ExitStatistics
from pipeline.farm.client import Farm
from pipeline.farm.evaluator import EVALUATION, ChunkCounts, EvaluationChunk, run_chunk
from pipeline.farm.packing import pack, unpack
from pipeline.farm.spreading import Spread
from pipeline.progress import Progress

CHUNK = 4 * BATCH
"""Images: whole batches, so that every image is computed in the batch in which a single host computes it."""


def evaluate_on_farm(
    farm: Farm, checkpoint: Checkpoint, split: Split, progress: Progress, *, ignore: int, policy: str
) -> ExitStatistics:
    """As `pipeline.evaluation.evaluate` of the checkpoint's network.

    Raises:
        InputError: the farm has no host, or as `evaluate`.
        DeviceError: the farm was lost.
        PipelineError: what stopped a host, as if it had happened here.
    """
    check_split(checkpoint.spec, split)

    def encode(n: int) -> bytes:
        return msgspec.json.encode(_chunk(checkpoint, _part(split, n), ignore, policy))

    with progress.task("evaluating every exit and head on the farm", len(split)) as advance:
        spread = Spread(
            farm, run_chunk, EVALUATION, -(-len(split) // CHUNK), encode, checkpoint.weights.read_bytes(),
            lambda n: advance(len(_part(split, n)), ""), progress.note,
        )
        found = [msgspec.json.decode(end, type=ChunkCounts) for end in spread.results()]
    counts = Counts(
        np.concatenate([unpack(one.confidence).astype(np.float32) for one in found], axis=2),
        np.concatenate([unpack(one.intersection).astype(np.int64) for one in found], axis=2),
        np.concatenate([unpack(one.union).astype(np.int64) for one in found], axis=2),
    )
    return counts.statistics(checkpoint.spec, split, policy, "fp32")


def _part(split: Split, n: int) -> Split:
    """The images of chunk `n`."""
    here = slice(n * CHUNK, (n + 1) * CHUNK)
    return replace(split, ids=split.ids[here], images=split.images[here], masks=split.masks[here])


def _chunk(checkpoint: Checkpoint, part: Split, ignore: int, policy: str) -> EvaluationChunk:
    images, masks = np.asarray(part.images), np.asarray(part.masks)
    spec = msgspec.Raw(msgspec.json.encode(checkpoint.spec))
    return EvaluationChunk(checkpoint.description.weights_sha256, spec, policy, ignore, part.ids, pack(images),
                           pack(masks))
