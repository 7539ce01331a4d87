"""From a request to data and network: the source, the structure, the trained checkpoint."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import msgspec

from device_profiler.errors import InputError
from pipeline.backbones import find_network, native_stride
from pipeline.checkpoint import Checkpoint, load_model, open_checkpoint
from pipeline.data import DataSource, load_source
from pipeline.data.common_grid import common_size, compared_at
from pipeline.data.source import Size, SplitName
from pipeline.evaluation import evaluate_policies
from pipeline.exit_statistics import ExitStatistics
from pipeline.model import ModelSpec, MultiExitModel, design_model
from pipeline.network_request import RANDOM_WEIGHTS, NetworkRequest
from pipeline.policy_name import DEFAULT_POLICY
from pipeline.presets import Preset
from pipeline.training.log import NoLog, TrainingLog
from pipeline.training.run import RunOptions, Share, train, training_key
from pipeline.workspace import Workspace, content_key

HEADS_AT_ONCE = 96
"""Heads that stage 2 trains from one pass: their weights, gradients and optimiser state are in memory together."""


@dataclass(frozen=True, eq=False)
class Network:
    """Data and structure that belong together; `checkpoint` is one that the user gave, `weights` what to start from."""

    preset: Preset
    source: DataSource
    spec: ModelSpec
    checkpoint: Checkpoint | None
    policy: str = DEFAULT_POLICY
    weights: Path | None = None


def check_backbone(request: NetworkRequest) -> None:
    """Whether the backbone of a network that is yet to be trained is a known one; nothing of it is built.

    Raises:
        InputError: it is not; near names are suggested.
    """
    if request.checkpoint is None:
        find_network(request.chosen_backbone)


def prepare_network(request: NetworkRequest, workspace: Workspace) -> Network:
    """Load the data and design the network, or take the structure of the given checkpoint.

    A checkpoint serves any input size: with a `size` that is not its own, it is taken at that one.

    Raises:
        InputError: bad data, unknown backbone, or a checkpoint of other classes or another backbone.
    """
    check_backbone(request)
    preset, policy = request.preset, request.chosen_policy
    given = open_checkpoint(request.checkpoint) if request.checkpoint else None
    size = request.size or (given.spec.size if given else None)
    source = load_source(
        request.chosen_data, size=size, area=preset.area, amounts=preset.amounts, progress=workspace.progress
    )
    if given:
        _check_given(given, source, request)
        at_size = given.at_size(source.size)
        return Network(preset, source, at_size.spec, at_size, policy)
    backbone = request.chosen_backbone
    spec = design_model(
        source.classes.names,
        source.size,
        backbone=backbone,
        output_stride=native_stride(backbone) or preset.output_stride,
        exits=preset.exits,
        heads=request.chosen_heads,
    )
    if request.weights == RANDOM_WEIGHTS:
        training = msgspec.structs.replace(preset.training, pretrained=False)
        return Network(msgspec.structs.replace(preset, training=training), source, spec, None, policy)
    return Network(preset, source, spec, None, policy, request.weights)


def comparable(network: Network, sizes: Sequence[Size], workspace: Workspace) -> Network:
    """`network` with labels that are compared where those of networks of all `sizes` are: the largest of them all.

    For evaluation alone: what is trained on its source is another training.
    """
    grid, preset = common_size((network.spec.size, *sizes)), network.preset
    if grid == network.spec.size:
        return network
    finest = load_source(
        network.source.spec, size=grid, area=preset.area, amounts=preset.amounts, progress=workspace.progress
    )
    return replace(network, source=compared_at(network.source, finest))


def _check_given(checkpoint: Checkpoint, source: DataSource, request: NetworkRequest) -> None:
    spec = checkpoint.spec
    pairs = (
        ("classes are", ", ".join(spec.classes), ", ".join(source.classes.names)),
        ("backbone is", spec.backbone, request.backbone or spec.backbone),
    )
    for field, there, asked in pairs:
        if there != asked:
            raise InputError(
                f"{checkpoint.folder} is a checkpoint of another model: its {field} {there}, asked for: {asked}; "
                "leave --checkpoint out to train one"
            )


@dataclass(frozen=True)
class SharedTraining:
    """A training that several machines do, each one `share` of it, in a folder that they have in common."""

    share: Share
    folder: Path


def obtain_checkpoint(
    network: Network, workspace: Workspace, log: TrainingLog | None = None, shared: SharedTraining | None = None
) -> Checkpoint:
    """The given checkpoint, the cached one of the same training, or a new one; published as runs/<name>/checkpoint.

    Training resumes where an earlier call was broken off.

    Raises:
        UnfinishedTraining: of a `shared` training this machine's share is done, others are not.
    """
    checkpoint = network.checkpoint
    if checkpoint is not None:
        workspace.note_reuse("training", f"the checkpoint {checkpoint.folder}")
    else:
        schedule = network.preset.training
        key = training_key(network.spec, network.source.fingerprint, schedule, network.weights)
        folder = shared.folder / key if shared else workspace.kept("checkpoints", key)
        if (folder / "model.json").exists():
            workspace.note_reuse("training", f"the checkpoint {key[:12]} (same data, network and schedule)")
        with workspace.timed("training"):
            groups = HEADS_AT_ONCE if schedule.method.independent else 0
            share = shared.share if shared else None
            options = RunOptions(network.weights, 0 if share else groups, share, log=log or NoLog())
            checkpoint = train(network.spec, network.source, schedule, folder, workspace.progress, options)
    workspace.publish_files(checkpoint.folder, "checkpoint", ("model.json", "model.safetensors"))
    return checkpoint


def float_statistics(
    network: Network, checkpoint: Checkpoint, model: MultiExitModel, split: SplitName, workspace: Workspace
) -> ExitStatistics:
    """Statistics of the fp32 network on one split, from the cache where the same were computed before."""
    return policy_statistics([network], checkpoint, model, split, workspace)[0]


def policy_statistics(
    networks: Sequence[Network], checkpoint: Checkpoint, model: MultiExitModel, split: SplitName, workspace: Workspace
) -> list[ExitStatistics]:
    """As `float_statistics`, of one network under several policies: what is not in the cache takes one pass."""
    source = networks[0].source
    lacking = [one.policy for one in networks if not _statistics_path(one, checkpoint, split, workspace).exists()]

    @cache
    def computed() -> dict[str, ExitStatistics]:
        ignore = source.classes.ignore
        found = evaluate_policies(model, source.split(split), workspace.progress, ignore=ignore, policies=lacking)
        return dict(zip(lacking, found, strict=True))

    def of(network: Network) -> ExitStatistics:
        return kept_statistics(network, checkpoint, split, workspace, lambda: computed()[network.policy])

    return list(map(of, networks))


def kept_statistics(
    network: Network, checkpoint: Checkpoint, split: SplitName, workspace: Workspace,
    compute: Callable[[], ExitStatistics], agreed: Callable[[bool], bool] = bool,
) -> ExitStatistics:
    """Statistics of the fp32 network on one split: from the cache, else what `compute` gives.

    `agreed`: from whether they are in this cache to whether they need not be computed.
    """
    path = _statistics_path(network, checkpoint, split, workspace)
    if agreed(path.exists()):
        workspace.note_reuse("evaluation", f"statistics of the {split} split")
        return ExitStatistics.load(path)
    with workspace.timed(f"evaluation ({split})"):
        statistics = compute()
    statistics.save(path)
    return statistics


def _statistics_path(network: Network, checkpoint: Checkpoint, split: SplitName, workspace: Workspace) -> Path:
    weights = checkpoint.description.weights_sha256
    key = content_key("fp32", weights, network.source.fingerprint, split, network.policy)
    return workspace.kept("statistics", key) / "statistics.npz"


def trained_model(checkpoint: Checkpoint) -> MultiExitModel:
    """The network with its weights, in eval mode."""
    return load_model(checkpoint).eval()
