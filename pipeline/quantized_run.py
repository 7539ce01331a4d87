"""The int8 network of a run: its parts quantised on real images, and their statistics, kept by content."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from device_profiler.files import write_atomic
from device_profiler.targets import Target
from mobile_export.artifact import Artifact
from mobile_export.export_worker import export_in_worker
from mobile_export.exporters import toolchain
from pipeline.checkpoint import Checkpoint
from pipeline.data.source import SplitName
from pipeline.exit_statistics import ExitStatistics
from pipeline.model import MultiExitModel
from pipeline.network import Network
from pipeline.partition import Partition
from pipeline.quantized import CALIBRATION_IMAGES, calibration_images, parts_calibration, quantized_statistics
from pipeline.sources import graph_code
from pipeline.workspace import Workspace, content_key

RECORD = "artifact.json"


def int8_statistics(
    network: Network,
    checkpoint: Checkpoint,
    model: MultiExitModel,
    target: Target,
    splits: Sequence[SplitName],
    workspace: Workspace,
    float_layers: tuple[str, ...] = (),
) -> tuple[ExitStatistics, ...]:
    """Statistics of the int8 stages, chained, on each of the splits; `float_layers` stay in floating point."""
    key = content_key(
        target.precision,
        checkpoint.description.weights_sha256,
        network.source.fingerprint,
        network.policy,
        target.runtime,
        sorted(toolchain(target.runtime).items()),
        graph_code(),
        CALIBRATION_IMAGES,
        *([float_layers] if float_layers else []),
    )
    folder = workspace.kept("quantized", key)
    missing = [split for split in splits if not (folder / f"{split}.npz").exists()]
    if not missing:
        workspace.note_reuse("evaluation", "statistics of the int8 stages")
    else:
        partition = Partition(model, network.policy, float_layers)
        artifact = _parts(network, partition, target, folder, workspace)
        for split in missing:
            _evaluate(network, artifact, folder, split, target, workspace)
    return tuple(ExitStatistics.load(folder / f"{split}.npz") for split in splits)


def _parts(network: Network, partition: Partition, target: Target, folder: Path, workspace: Workspace) -> Artifact:
    record = folder / RECORD
    if record.exists():
        workspace.note_reuse("quantisation", "the int8 parts")
        return msgspec.json.decode(record.read_bytes(), type=Artifact)
    with workspace.timed("quantisation"), workspace.progress.task("quantising all parts", 1) as advance:
        calibration = parts_calibration(partition.model, partition.policy, calibration_images(network.source.train))
        programs = partition.parts()
        file = folder / f"parts{target.suffix}"
        artifact = export_in_worker(target.runtime, programs, file, precision=target.precision, calibration=calibration)
        advance(1, "")
    write_atomic(record, msgspec.json.encode(artifact))
    return artifact


def _evaluate(
    network: Network, artifact: Artifact, folder: Path, split: SplitName, target: Target, workspace: Workspace
) -> None:
    with workspace.timed(f"int8 statistics ({split})"):
        statistics = quantized_statistics(
            artifact,
            folder / f"parts{target.suffix}",
            network.spec,
            network.source.split(split),
            network.source.classes.ignore,
            network.policy,
            workspace.progress,
        )
    statistics.save(folder / f"{split}.npz")
