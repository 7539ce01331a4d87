"""The seat of a host in a farm: besides its phones it evaluates networks, a few images at a time, in a process."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from distributed import Worker, get_worker

from device_profiler.errors import PipelineError
from mobile_export.worker import WorkerProcess
from pipeline.farm.jobs import JobEnd, ended_by
from pipeline.farm.packing import pack, unpack

if TYPE_CHECKING:
    from pipeline.exit_statistics import ExitStatistics
    from pipeline.model import MultiExitModel

EVALUATION = "evaluation"
"""The resource that every host's seat offers."""
CHUNK_TIMEOUT_S = 3600.0


class EvaluationChunk(msgspec.Struct, frozen=True):
    """Some images of a split, to be evaluated by a network.

    `spec`: a `pipeline.model.ModelSpec` in JSON. `images` uint8 [N, H, W, 3] and `masks` uint8 [N, H, W], packed.
    """

    weights_sha256: str
    spec: msgspec.Raw
    policy: str
    ignore: int
    ids: tuple[str, ...]
    images: bytes
    masks: bytes


class ChunkCounts(msgspec.Struct, frozen=True):
    """What `ExitStatistics` has of these images: confidence [E, H, N], intersection and union [E, H, N, C], packed."""

    confidence: bytes
    intersection: bytes
    union: bytes


@dataclass(frozen=True)
class _Work:
    """What the process is handed: a chunk in JSON and the content of model.safetensors."""

    chunk: bytes
    weights: bytes


class Seat(Worker):  # type: ignore[misc]  # Dask's classes have no types
    """A host's worker without a phone. Its process lives as long as it does, with the last network loaded.

    `tell` is told of every network that it begins to evaluate.
    """

    def __init__(self, host_name: str, tell: Callable[[str], None], **options: object) -> None:
        super().__init__(**options, resources={EVALUATION: 1.0})
        self._host, self._tell, self._network = host_name, tell, ""
        self._process: WorkerProcess | None = None
        self._lock = threading.Lock()

    def evaluate(self, chunk: bytes, weights: bytes) -> JobEnd:
        """Evaluate a chunk here, in the worker's own thread."""
        try:
            network = msgspec.json.decode(chunk, type=EvaluationChunk).weights_sha256
            if network != self._network:
                self._tell(f"evaluating the network {network[:12]}")
                self._network = network
            with self._lock:
                self._process = self._process or WorkerProcess(_begin)
            answer = self._process.request(_Work(chunk, weights), "evaluating on the farm", CHUNK_TIMEOUT_S)
        except PipelineError as error:
            self.stop()
            return ended_by(error, self._host, "")
        if isinstance(answer, PipelineError):
            return ended_by(answer, self._host, "")
        assert isinstance(answer, bytes)
        return JobEnd("done", self._host, "", result=msgspec.Raw(answer))

    def stop(self) -> None:
        """End the process; the next chunk gets a new one."""
        with self._lock:
            process, self._process = self._process, None
        if process:
            process.stop()
            process.close()


def run_chunk(chunk: bytes, weights: bytes) -> bytes:
    """What the scheduler sends to a seat: an `EvaluationChunk` in JSON in, a `JobEnd` with `ChunkCounts` out."""
    evaluate: Callable[[bytes, bytes], JobEnd] = get_worker().evaluate
    return msgspec.json.encode(evaluate(chunk, weights))


def _begin() -> Callable[[object], object]:
    """The process's first step: a function that keeps the network of the chunk before."""
    loaded: dict[tuple[str, bytes], MultiExitModel] = {}

    def answer(work: object) -> object:
        assert isinstance(work, _Work)
        chunk = msgspec.json.decode(work.chunk, type=EvaluationChunk)
        name = chunk.weights_sha256, bytes(chunk.spec)
        try:
            if name not in loaded:
                loaded.clear()
                loaded[name] = _model(chunk, work.weights)
            return msgspec.json.encode(_counts(_evaluated(chunk, loaded[name])))
        except PipelineError as error:
            return error

    return answer


def _model(chunk: EvaluationChunk, weights: bytes) -> "MultiExitModel":
    from safetensors.torch import load

    from pipeline.model import ModelSpec, build_model

    model = build_model(msgspec.json.decode(chunk.spec, type=ModelSpec))
    model.load_state_dict(load(weights))
    return model.eval()


def _evaluated(chunk: EvaluationChunk, model: "MultiExitModel") -> "ExitStatistics":
    import numpy as np

    from pipeline.data.source import Split
    from pipeline.evaluation import evaluate
    from pipeline.progress import SilentProgress

    images, masks = unpack(chunk.images).astype(np.uint8), unpack(chunk.masks).astype(np.uint8)
    split = Split("test", chunk.ids, images, masks)
    return evaluate(model, split, SilentProgress(), ignore=chunk.ignore, policy=chunk.policy)


def _counts(statistics: "ExitStatistics") -> ChunkCounts:
    return ChunkCounts(pack(statistics.confidence), pack(statistics.intersection), pack(statistics.union))
