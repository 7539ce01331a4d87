"""`deploy`: the ordered list of stages from data to a verified bundle."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

import msgspec

from device_profiler.prediction import DeviceModel, load_model
from mobile_export.frame_size import whole_multiples
from mobile_export.manifest import MixedPrecision
from mobile_export.self_check import leaving_at
from pipeline.bundling import make_bundle
from pipeline.certificate import certificate_text, check_enough
from pipeline.checkpoint import Checkpoint
from pipeline.costing import latency_table
from pipeline.data.common_grid import common_size
from pipeline.data.source import Size, SplitName
from pipeline.deciding import Decision, Doubt, SplitStatistics, decide, doubts, winning
from pipeline.deployment import Deployment, DeployRequest, Learned, TimedWhole
from pipeline.durations import format_duration
from pipeline.exact_search.configuration import Configuration
from pipeline.exact_search.evaluate import routes
from pipeline.input_sizes import Offered, SizeChoice, SizeOffer, choose_size
from pipeline.mixed_precision import mixed_precision, mixed_precision_lines
from pipeline.model import MultiExitModel, count_model
from pipeline.network import (
    Network,
    check_backbone,
    comparable,
    float_statistics,
    obtain_checkpoint,
    prepare_network,
    trained_model,
)
from pipeline.phone_check import PhoneAgreement
from pipeline.phone_work import PhoneWork, Profiling
from pipeline.phone_work import open_phone as open_local_phone
from pipeline.pixel_size import width_x_height
from pipeline.profiling import Profile
from pipeline.proof import prove
from pipeline.quantized_run import int8_statistics
from pipeline.reporting import write_reports
from pipeline.seen import as_seen
from pipeline.shipping import Bench
from pipeline.wholes import best_whole, measuring
from pipeline.workspace import Workspace

PHONE_CHECKS_PER_EXIT = 2
MOST_LAYERS_TOLD = 8

# Opens the phone of a deployment.
OpenPhone = Callable[[DeployRequest], AbstractContextManager[PhoneWork]]


def phone_here(request: DeployRequest) -> AbstractContextManager[PhoneWork]:
    """The phone that the request names, at hand."""
    return open_local_phone(
        request.device, request.target, require_device=request.require_device, store=request.store
    )


def deploy(request: DeployRequest, workspace: Workspace, open_phone: OpenPhone = phone_here) -> Deployment:
    """Make the best deployment for a target, with proof; finished stages are kept and used again.

    Raises:
        InputError: bad data, checkpoint or objective.
        InfeasibleError: nothing meets the objective.
        DeviceError: the phone is absent or failed.
        VerificationError: an export does not compute what the network computes, on this machine or on the phone.
    """
    check_backbone(request.network)
    with open_phone(request) as phone:
        _warn(phone, request, workspace)
        network = prepare_network(request.network, workspace)
        if request.app.frame:
            for size in (network.spec.size, *request.sizes):
                whole_multiples(request.app.frame, size)
        if request.promise:
            check_enough(len(network.source.certify), request.promise)
        network, learned, request, offers = _at_best_size(network, request, phone, workspace)
        decision, doubted = _decide(network, learned, request, workspace)
        bench = Bench(
            learned.model, learned.checkpoint, network.policy, request.target, network.source.train,
            network.source.test, workspace, request.app.input, learned.mixed.names if learned.mixed else (),
            request.app.frame,
        )
        measure = measuring(bench, phone, learned.statistics, learned.table, request.objective.deadlines_ns)
        winner = best_whole(measure, learned.statistics.search, learned.table, decision, request.objective)
        reference, single = measure((decision.reference, decision.strongest_single))
        proof = prove(winner.shipment, network.source, learned.statistics.test, workspace)
        checked = _check_on_phone(bench, phone, learned.statistics, winner)
        bundle = make_bundle(
            request, network, winner, reference, single, decision.certificate, learned.statistics, proof,
            phone.identity, workspace, learned.mixed,
        )
        deployment = Deployment(
            request, phone.identity, network, learned, decision, doubted, winner, reference, single, proof, checked,
            bundle, workspace.run, offers,
        )
    write_reports(deployment, workspace)
    return deployment


def _at_best_size(
    network: Network, request: DeployRequest, phone: PhoneWork, workspace: Workspace
) -> tuple[Network, Learned, DeployRequest, tuple[SizeOffer, ...]]:
    """The network at the best of the sizes offered, and the request as it reads there; writes the search's two files.

    It is trained at its own size, and has the same weights at every further one. No offers where its size is alone.
    """
    sizes = tuple(dict.fromkeys((network.spec.size, *request.sizes)))
    sized = [_learn(network, sizes, request, phone, workspace)]
    for size in sizes[1:]:
        workspace.progress.note(f"the same network at {width_x_height(size)}")
        same = replace(request.network, size=size, checkpoint=sized[0][1].checkpoint.folder, weights=None)
        other = prepare_network(same, workspace)
        sized.append(_learn(other, sizes, request, phone, workspace))
    choice = SizeChoice(0, request.objective, ())
    if len(sized) > 1:
        offered = [Offered(one.spec.size, learned.statistics, learned.table) for one, learned in sized]
        choice = choose_size(offered, request.objective, request.promise)
    network, learned = sized[choice.index]
    learned.statistics.search.save(workspace.run / "statistics.npz")
    learned.table.save(workspace.run / "latency.json")
    return network, learned, replace(request, objective=choice.objective), choice.offers


def _learn(
    network: Network, sizes: Sequence[Size], request: DeployRequest, phone: PhoneWork, workspace: Workspace
) -> tuple[Network, Learned]:
    """Train (or reuse) and evaluate while another process profiles the parts.

    Also gives the network as it is evaluated: its labels are compared where those of all `sizes` are.
    """
    mixed = _mixed_precision(network, request, workspace)
    kept = mixed.names if mixed else ()
    with phone.profiling(network.spec, network.policy, kept) as profiling:
        checkpoint = obtain_checkpoint(network, workspace)
        model = trained_model(checkpoint)
        evaluated = comparable(network, sizes, workspace)
        statistics = _statistics(evaluated, checkpoint, model, request, kept, workspace)
        profile = _wait(profiling, workspace)
    device_model = load_model(request.target.device_model) if request.target.device_model else None
    table = latency_table(network.spec, profile, request.target, device_model)
    return evaluated, Learned(checkpoint, model, statistics, profile, table, device_model, mixed)


def _mixed_precision(network: Network, request: DeployRequest, workspace: Workspace) -> MixedPrecision | None:
    """The layers that int8 leaves in floating point, where they were asked for: only then training comes first."""
    if request.max_int8_drop is None:
        return None
    checkpoint = obtain_checkpoint(network, workspace)
    return mixed_precision(network, checkpoint, trained_model(checkpoint), request.max_int8_drop, workspace)


def _decide(
    network: Network, learned: Learned, request: DeployRequest, workspace: Workspace
) -> tuple[Decision, tuple[Doubt, ...]]:
    """Search, for the objective and for what the winner is compared to."""
    with workspace.timed("search"), workspace.progress.task("search", 1) as advance:
        cost = count_model(learned.model, network.policy)
        decision = decide(learned.statistics, learned.table, request.objective, cost, request.promise)
        doubted = _doubts(network, learned, request)
        advance(1, "")
    return decision, doubted


def _warn(phone: PhoneWork, request: DeployRequest, workspace: Workspace) -> None:
    """What every output of the run has to say of the phone."""
    if phone.warning:
        workspace.warn(phone.warning)
    elif phone.identity.emulated:
        workspace.warn(
            f"{phone.identity.address} is an emulated {phone.identity.model}: its CPU times are estimates of a "
            "virtual clock, not measurements"
        )
    if request.target.device_model and phone.identity.emulated:
        workspace.warn(
            f"{request.target.unit.upper()} latencies are predicted by the device model {request.target.device_model}, "
            "whose parameters are partly assumed; outputs come from the same file on the emulated phone's CPU"
        )


def _wait(profiling: Profiling, workspace: Workspace) -> Profile:
    with (
        workspace.timed("profiling (after training)", beside="training"),
        workspace.progress.task("profiling parts on the phone", 1) as advance,
    ):
        profile = profiling.result()
        advance(1, "")
    if profile.measured < profile.distinct:
        workspace.note_reuse("profiling", f"{profile.distinct - profile.measured} of {profile.distinct} parts")
    return profile


def _statistics(
    network: Network,
    checkpoint: Checkpoint,
    model: MultiExitModel,
    request: DeployRequest,
    float_layers: tuple[str, ...],
    workspace: Workspace,
) -> SplitStatistics:
    """Of the network as it ships: the int8 stages, chained, where the target is int8; on frames where it takes them."""
    splits: tuple[SplitName, ...] = ("search", "test", "certify") if request.promise else ("search", "test")
    if request.target.precision != "fp32":
        return SplitStatistics(
            *int8_statistics(network, checkpoint, model, request.target, splits, workspace, float_layers)
        )
    if request.app.frame:
        network = replace(network, source=as_seen(network.source, request.app.frame, workspace))
    return SplitStatistics(*(float_statistics(network, checkpoint, model, split, workspace) for split in splits))


def _doubts(network: Network, learned: Learned, request: DeployRequest) -> tuple[Doubt, ...]:
    if learned.device_model is None:
        return ()

    def choose(changed: DeviceModel) -> Configuration:
        table = latency_table(network.spec, learned.profile, request.target, changed)
        return winning(learned.statistics, table, request.objective, request.promise).configuration

    return doubts(learned.device_model, choose)


def _check_on_phone(
    bench: Bench, phone: PhoneWork, statistics: SplitStatistics, winner: TimedWhole
) -> tuple[PhoneAgreement, ...]:
    """What ran there, and test images that leave at each exit; where a deadline decides, the same at every exit."""
    shipment, probes = winner.shipment, _probes(statistics, winner)
    rows = [*bench.check_delegation(shipment, phone)]
    if shipment.configuration.setting != "anytime":
        return (*rows, *bench.check_on_phone(shipment, phone, probes))
    for n, entry in enumerate(shipment.plan.stages):
        stopped = replace(shipment, plan=leaving_at(shipment.plan, n))
        found = bench.check_on_phone(stopped, phone, probes)
        rows += [msgspec.structs.replace(row, entry=f"{row.entry} to {entry}") for row in found]
    return tuple(rows)


def _probes(statistics: SplitStatistics, winner: TimedWhole) -> tuple[int, ...]:
    """Test images for the check on the phone: a few that leave at each exit."""
    left = routes(statistics.test, winner.shipment.configuration)
    return tuple(
        index
        for position in range(len(winner.paths))
        for index in [int(i) for i in (left == position).nonzero()[0][:PHONE_CHECKS_PER_EXIT]]
    )


def result_lines(deployment: Deployment) -> list[str]:
    """The result as a short block that a person can paste into a chat."""
    manifest = deployment.bundle.manifest
    expected, worst = manifest.latency.expected, manifest.latency.worst
    single, full = deployment.strongest_single, deployment.reference
    steps = " > ".join(f"{stage.exit} {stage.head} ({stage.rate:.0%})" for stage in manifest.stages)
    images, certificate = len(deployment.proof.answers.exits), deployment.decision.certificate
    kept = deployment.learned.mixed
    mixed = mixed_precision_lines(kept, MOST_LAYERS_TOLD) if kept else []
    alone = "strongest single exit" if deployment.decision.single_fits else "most accurate single exit (no bound kept)"
    single_ns, full_ns = single.paths[0].median_ns, full.paths[0].median_ns
    parity = manifest.artifact.parity
    miou, how = deployment.proof.miou, "the shipped file"
    if manifest.readouts:
        miou, how = deployment.winner.test.miou, "mean over the deadlines"
    readouts = [
        f"  by {format_duration(one.deadline_ns)}  {one.exit} after {format_duration(one.latency_ns)}, "
        f"mIoU {one.miou:.4f} (the shipped file)"
        for one in manifest.readouts
    ]
    return [
        f"{deployment.request.target.name}: {manifest.setting}, {steps}",
        f"  latency  {format_duration(expected.value_ns)} expected, {format_duration(worst.value_ns)} at worst "
        f"({expected.provenance}, timed whole)",
        f"  mIoU     {miou:.4f} on {images} test images ({how}); full network "
        f"{full.test.miou:.4f}",
        f"  against  {alone} {format_duration(single_ns)} ({single_ns / expected.value_ns:.2f}x), "
        f"mIoU {single.test.miou:.4f}; full network {format_duration(full_ns)} ({full_ns / expected.value_ns:.2f}x)",
        *readouts,
        *(f"  input    {line}" for line in size_lines(deployment.sizes)),
        f"  checked  against eager PyTorch (outputs: {len(parity.outputs) if parity else 0}), on the phone "
        f"(images: {deployment.phone[0].samples}), "
        f"search {'proven optimal' if deployment.decision.winner.optimal else 'not proven optimal'}",
        *(f"  int8     {line.strip()}" for line in mixed),
        *([f"  certified {certificate_text(certificate)}"] if certificate else []),
        f"  bundle   {deployment.bundle.folder}",
        f"  report   {deployment.run / 'report.html'}",
        *[f"  warning  {text}" for text in manifest.warnings],
    ]


def size_lines(offers: Sequence[SizeOffer]) -> list[str]:
    """One a size: the best configuration there, by the latency table and on the search split."""
    lines = []
    for offer in offers:
        best = "nothing meets the objective"
        if offer.best:
            exits = " > ".join(f"exit{e + 1}" for e in offer.best.configuration.exits)
            best = f"{exits}, {format_duration(offer.best.latency_ns)} by parts, mIoU {offer.best.miou:.4f} on search"
        mark = " (chosen)" if offer.chosen else ""
        lines.append(f"{width_x_height(offer.size)}: {best}; full network {offer.full_miou:.4f}{mark}")
    grid = [f"labels of all compared at {width_x_height(common_size(o.size for o in offers))}"] if offers else []
    return lines + grid


def result_json(deployment: Deployment, workspace: Workspace) -> dict[str, object]:
    """The manifest's content plus the run folder and what was reused."""
    manifest = msgspec.to_builtins(deployment.bundle.manifest)
    reused = [{"stage": reuse.stage, "what": reuse.what} for reuse in workspace.reused]
    return {**manifest, "run": str(deployment.run), "reused": reused}
