"""A network evaluated by all hosts of a farm: a split in chunks, each done by whichever host is free."""

import msgspec
import numpy as np

from pipeline.checkpoint import Checkpoint
from pipeline.data.source import Split
from pipeline.evaluation import Counts, check_split, chunks
from pipeline.exit_statistics import ExitStatistics
from pipeline.farm.client import Farm
from pipeline.farm.evaluator import EVALUATION, ChunkCounts, EvaluationChunk, run_chunk
from pipeline.farm.packing import pack, unpack
from pipeline.farm.spreading import Spread
from pipeline.progress import Progress


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

    pieces = chunks(len(split))

    def encode(n: int) -> bytes:
        return msgspec.json.encode(_chunk(checkpoint, split, pieces[n], ignore, policy))

    with progress.task("evaluating every exit and head on the farm", len(split)) as advance:
        spread = Spread(
            farm, run_chunk, EVALUATION, len(pieces), encode, checkpoint.weights.read_bytes(),
            lambda n: advance(len(split.ids[pieces[n]]), ""), progress.note,
        )
        found = [msgspec.json.decode(end, type=ChunkCounts) for end in spread.results()]
    counts = Counts(
        np.concatenate([unpack(one.confidence).astype(np.float32) for one in found], axis=2),
        np.concatenate([unpack(one.intersection).astype(np.int64) for one in found], axis=2),
        np.concatenate([unpack(one.union).astype(np.int64) for one in found], axis=2),
    )
    return counts.statistics(checkpoint.spec, split, policy, "fp32")


def _chunk(checkpoint: Checkpoint, split: Split, here: slice, ignore: int, policy: str) -> EvaluationChunk:
    images, masks = np.asarray(split.images[here]), np.asarray(split.masks[here])
    spec = msgspec.Raw(msgspec.json.encode(checkpoint.spec))
    return EvaluationChunk(checkpoint.description.weights_sha256, spec, policy, ignore, split.ids[here], pack(images),
                           pack(masks))
