"""Evaluation by all processes that a launcher (torchrun, accelerate launch) started, on one node or several."""

from dataclasses import replace

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import reduce
from numpy.typing import NDArray

from pipeline.data.source import Split
from pipeline.evaluation import Counts, check_split, chunks, evaluate
from pipeline.exit_statistics import ExitStatistics
from pipeline.model import MultiExitModel
from pipeline.progress import Progress


class Launched:
    """This process among the launcher's. They meet in memory alone: no folder has to be shared."""

    def __init__(self) -> None:
        self._state = PartialState(cpu=True)

    def all_have(self, here: bool) -> bool:
        """Whether `here` holds in every process; each must ask."""
        return int(self._sum(np.array([not here], np.int64))[0]) == 0

    def evaluate(
        self, model: MultiExitModel, split: Split, progress: Progress, *, ignore: int, policy: str
    ) -> ExitStatistics:
        """As `pipeline.evaluation.evaluate`, each process on its share of the images; every one gets the whole.

        Shares are whole batches, so that every image is computed in the batch in which one process computes it.
        """
        check_split(model.spec, split)
        counts = Counts.empty(model.spec, len(split))
        for here in chunks(len(split))[self._state.process_index :: self._state.num_processes]:
            part = replace(split, ids=split.ids[here], images=split.images[here], masks=split.masks[here])
            counts.fill(here, evaluate(model, part, progress, ignore=ignore, policy=policy))
        whole = Counts(
            self._sum(counts.confidence).astype(np.float32),
            self._sum(counts.intersection).astype(np.int64),
            self._sum(counts.union).astype(np.int64),
        )
        return whole.statistics(model.spec, split, policy, "fp32")

    def _sum(self, numbers: NDArray[np.generic]) -> NDArray[np.generic]:
        """Over the processes, element by element; what only one of them filled stays exactly as it is."""
        summed: NDArray[np.generic] = reduce(torch.from_numpy(numbers), "sum").numpy()
        return summed
