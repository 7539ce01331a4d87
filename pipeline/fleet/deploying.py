"""`deploy --fleet`: train once, deploy to every target in a process of its own, index what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from device_profiler.errors import PipelineError, VerificationError
from device_profiler.files import write_atomic
from device_profiler.host import at_once
from device_profiler.targets import Target
from mobile_export.bundle import read_bundle
from pipeline.certificate import check_enough
from pipeline.checkpoint import Checkpoint, open_checkpoint
from pipeline.cli.report import COMPARISON_NAME
from pipeline.data.source import Size, SplitName
from pipeline.fleet.ai_pack import write_ai_pack
from pipeline.fleet.children import Child, Ended, deploy_each
from pipeline.fleet.index import INDEX_NAME, BundleIndex, FailedTarget, Finished, encode_index, make_index
from pipeline.fleet.schedule import MEMORY_EACH
from pipeline.network import (
    Network,
    comparable,
    float_statistics,
    obtain_checkpoint,
    prepare_network,
    trained_model,
)
from pipeline.network_request import NetworkRequest
from pipeline.promise import Promise
from pipeline.run_report import JSON_NAME, read_report, render_comparison
from pipeline.workspace import Workspace

_OF_THE_FLEET = ("fleet", "run", "target")
_OF_INT8 = "max-int8-drop"


@dataclass(frozen=True)
class FleetRequest:
    """One `deploy --fleet` as asked for. `options`: the resolved flags, which every target's own run takes over.

    `absent`: by name, the targets that have no phone, and why. `phones_multiply`: see `startable`. `mixed`: the targets
    that --max-int8-drop is for. `sizes`: further input sizes (height, width) to choose from.
    """

    targets: tuple[Target, ...]
    network: NetworkRequest
    promise: Promise | None
    options: dict[str, object]
    absent: Mapping[str, PipelineError]
    phones_multiply: bool
    mixed: tuple[str, ...] = ()
    sizes: tuple[Size, ...] = ()
    verbose: bool = False


@dataclass(frozen=True)
class FleetDeployment:
    """What one run gave: how every target ended, in the order in which they were named, and what was made of it.

    `comparison`: where two targets or more were deployed; `ai_pack`: where one was.
    """

    run: Path
    index: BundleIndex
    ended: tuple[Ended, ...]
    comparison: Path | None
    ai_pack: Path | None


def deploy_all(request: FleetRequest, workspace: Workspace) -> FleetDeployment:
    """A bundle for every target, from one checkpoint. A target that fails costs the others nothing.

    Raises:
        InputError: bad data or checkpoint.
        VerificationError: too few images for the promise.
    """
    for name, error in request.absent.items():
        workspace.warn(f"{name} is left out: {error}")
    network = prepare_network(request.network, workspace)
    if request.promise:
        check_enough(len(network.source.certify), request.promise)
    checkpoint = obtain_checkpoint(network, workspace)
    _evaluate(comparable(network, request.sizes, workspace), checkpoint, request, workspace)

    def start(target: Target) -> Child:
        run = workspace.run / target.name
        return Child(target, run, _own_options(request, target, run), request.verbose)

    present = [target for target in request.targets if target.name not in request.absent]
    ended = deploy_each(
        present, start, workspace, at_once=at_once(MEMORY_EACH), phones_multiply=request.phones_multiply
    )
    found = {one.target.name: one for one in ended}
    return _conclude([found.get(target.name) or _absent(request, target, workspace) for target in request.targets],
                     checkpoint, workspace)


def _absent(request: FleetRequest, target: Target, workspace: Workspace) -> Ended:
    error = request.absent[target.name]
    return Ended(target, workspace.run / target.name, error.exit_code, str(error))


def _evaluate(network: Network, checkpoint: Checkpoint, request: FleetRequest, workspace: Workspace) -> None:
    """The statistics of the fp32 network, which all targets in fp32 share, into the cache."""
    if all(target.precision != "fp32" for target in request.targets):
        return
    model = trained_model(checkpoint)
    splits: tuple[SplitName, ...] = ("search", "test", "certify") if request.promise else ("search", "test")
    for split in splits:
        float_statistics(network, checkpoint, model, split, workspace)


def _own_options(request: FleetRequest, target: Target, run: Path) -> dict[str, object]:
    """The options with which `deploy` gives this target's bundle alone, in `run`."""
    left_out = _OF_THE_FLEET if target.name in request.mixed else (*_OF_THE_FLEET, _OF_INT8)
    shared = {key: value for key, value in request.options.items() if key not in left_out}
    return {**shared, "target": target.name, "run": str(run)}


def _conclude(ended: list[Ended], checkpoint: Checkpoint, workspace: Workspace) -> FleetDeployment:
    """Index, comparison and AI pack of what succeeded; those of an earlier run do not outlive it."""
    run, weights = workspace.run, checkpoint.description.weights_sha256
    ended = [_of_these_weights(one, weights) for one in ended]
    done = [one for one in ended if not one.error]
    failed = [FailedTarget(one.target.name, one.error, one.exit_code) for one in ended if one.error]
    index = make_index([_finished(one, run, weights) for one in done], weights, failed)
    write_atomic(run / INDEX_NAME, encode_index(index))
    page = run / COMPARISON_NAME
    page.unlink(missing_ok=True)
    if len(done) > 1:
        render_comparison([read_report(one.run / JSON_NAME) for one in done], page)
    return FleetDeployment(run, index, tuple(ended), page if len(done) > 1 else None, write_ai_pack(index, run))


def _of_these_weights(one: Ended, weights: str) -> Ended:
    """A bundle of another checkpoint is no part of this fleet: the data changed while it was made."""
    if one.error or open_checkpoint(one.run / "checkpoint").description.weights_sha256 == weights:
        return one
    error = "it was made from other weights, for its data changed while the fleet was deployed: run the command again"
    return replace(one, exit_code=VerificationError.exit_code, error=error)


def _finished(one: Ended, run: Path, weights: str) -> Finished:
    bundle = read_bundle(one.run / "deployment")
    return Finished(one.target, bundle.folder.relative_to(run), bundle.manifest, weights)
