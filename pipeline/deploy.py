"""`deploy`: the ordered list of stages from data to a verified bundle."""

from dataclasses import replace

import msgspec

from device_profiler.device import Device, open_device
from device_profiler.errors import InfeasibleError
from device_profiler.prediction import DeviceModel, load_model
from device_profiler.store import Store
from pipeline.bundling import make_bundle
from pipeline.certificate import certificate_text, check_enough
from pipeline.checkpoint import Checkpoint
from pipeline.costing import latency_table
from pipeline.data.source import SplitName
from pipeline.deciding import Decision, Doubt, SplitStatistics, decide, doubts, winning
from pipeline.deployment import Deployment, DeployRequest, Learned, TimedWhole
from pipeline.durations import format_duration
from pipeline.latency_table import LatencyTable
from pipeline.model import MultiExitModel, count_model
from pipeline.network import Network, float_statistics, obtain_checkpoint, prepare_network, trained_model
from pipeline.profiling import BackgroundProfile, Profile, ProfileRequest
from pipeline.proof import prove
from pipeline.quantized_run import int8_statistics
from pipeline.reporting import write_reports
from pipeline.search.configuration import Candidate, Configuration
from pipeline.search.evaluate import evaluate_configuration, routes
from pipeline.search.objective import Objective
from pipeline.search.runners_up import runners_up
from pipeline.search.solver import search
from pipeline.shipping import Bench
from pipeline.workspace import Workspace

TABLE_ERROR = 0.03
"""Relative error of sums of parts against wholes that runners-up are measured for."""
ATTEMPTS = 3
PHONE_CHECKS_PER_EXIT = 2


def deploy(request: DeployRequest, workspace: Workspace) -> Deployment:
    """Make the best deployment for a target, with proof; finished stages are kept and used again.

    Raises:
        InputError: bad data, checkpoint or objective.
        InfeasibleError: nothing meets the objective.
        DeviceError: the phone is absent or failed.
        VerificationError: an export does not compute what the network computes, on this machine or on the phone.
    """
    with open_device(request.device, request.target, require_device=request.require_device) as device, Store() as store:
        _warn(device, request, workspace)
        network = prepare_network(request.network, workspace)
        if request.promise:
            check_enough(len(network.source.certify), request.promise)
        learned = _learn(network, request, device, workspace)
        decision, doubted = _decide(network, learned, request, workspace)
        bench = Bench(
            learned.model, learned.checkpoint, network.policy, request.target, network.source.train,
            network.source.test, workspace,
        )
        measure = _Measure(bench, device, store, learned.statistics, learned.table)
        winner = _best_whole(measure, decision, request.objective)
        reference = measure.whole(decision.reference)
        single = measure.whole(decision.strongest_single)
        proof = prove(winner.shipment, network.source, learned.statistics.test, workspace)
        phone = bench.check_on_phone(winner.shipment, device, _probes(learned.statistics, winner))
        bundle = make_bundle(
            request, network, winner, reference, single, decision.certificate, learned.statistics, proof,
            device.identity, workspace,
        )
        deployment = Deployment(
            request, device.identity, network, learned, decision, doubted, winner, reference, single, proof, phone,
            bundle, workspace.run,
        )
    write_reports(deployment, workspace)
    return deployment


def _learn(network: Network, request: DeployRequest, device: Device, workspace: Workspace) -> Learned:
    """Train (or reuse) and evaluate while another process profiles the parts; writes the search's two files."""
    with BackgroundProfile(_profile_request(network, request, device)) as profiling:
        checkpoint = obtain_checkpoint(network, workspace)
        model = trained_model(checkpoint)
        statistics = _statistics(network, checkpoint, model, request, workspace)
        profile = _wait(profiling, workspace)
    device_model = load_model(request.target.device_model) if request.target.device_model else None
    table = latency_table(network.spec, profile, request.target, device_model)
    statistics.search.save(workspace.run / "statistics.npz")
    table.save(workspace.run / "latency.json")
    return Learned(checkpoint, model, statistics, profile, table, device_model)


def _decide(
    network: Network, learned: Learned, request: DeployRequest, workspace: Workspace
) -> tuple[Decision, tuple[Doubt, ...]]:
    """Search, for the objective and for what the winner is compared to."""
    with workspace.timed("search"), workspace.progress.task("search", 1) as advance:
        decision = decide(
            learned.statistics, learned.table, request.objective, count_model(learned.model), request.promise
        )
        doubted = _doubts(network, learned, request, decision)
        advance(1, "")
    return decision, doubted


def _warn(device: Device, request: DeployRequest, workspace: Workspace) -> None:
    """What every output of the run has to say of the phone."""
    if device.warning:
        workspace.warn(device.warning)
    elif device.identity.emulated:
        workspace.warn(
            f"{device.identity.address} is an emulated {device.identity.model}: its CPU times are estimates of a "
            "virtual clock, not measurements"
        )
    if request.target.device_model and device.identity.emulated:
        workspace.warn(
            f"{request.target.unit.upper()} latencies are predicted by the device model {request.target.device_model}, "
            "whose parameters are partly assumed; outputs come from the same file on the emulated phone's CPU"
        )


def _profile_request(network: Network, request: DeployRequest, device: Device) -> ProfileRequest:
    token = device.lease.token if device.lease else None
    return ProfileRequest(network.spec, network.policy, request.target, device.identity.address, token)


def _wait(profiling: BackgroundProfile, workspace: Workspace) -> Profile:
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
    network: Network, checkpoint: Checkpoint, model: MultiExitModel, request: DeployRequest, workspace: Workspace
) -> SplitStatistics:
    """Of the network as it ships: the int8 stages, chained, where the target is int8."""
    splits: tuple[SplitName, ...] = ("search", "test", "certify") if request.promise else ("search", "test")
    if request.target.precision == "int8":
        return SplitStatistics(*int8_statistics(network, checkpoint, model, request.target, splits, workspace))
    return SplitStatistics(*(float_statistics(network, checkpoint, model, split, workspace) for split in splits))


def _doubts(
    network: Network, learned: Learned, request: DeployRequest, decision: Decision
) -> tuple[Doubt, ...]:
    if learned.device_model is None:
        return ()

    def choose(changed: DeviceModel) -> Configuration:
        table = latency_table(network.spec, learned.profile, request.target, changed)
        return winning(learned.statistics, table, request.objective, request.promise).configuration

    return doubts(learned.device_model, choose, decision.winner.configuration)


class _Measure:
    """Ships and times configurations whole, each once."""

    def __init__(
        self, bench: Bench, device: Device, store: Store, statistics: SplitStatistics, table: LatencyTable
    ) -> None:
        self._bench, self._device, self._store = bench, device, store
        self.statistics, self.table = statistics, table
        self._done: dict[tuple[object, ...], TimedWhole] = {}

    def whole(self, candidate: Candidate) -> TimedWhole:
        """The candidate as exported, verified and timed whole."""
        configuration = candidate.configuration
        key = (configuration.exits, configuration.heads, configuration.thresholds)
        if key not in self._done:
            shipment = self._bench.ship(configuration)
            paths = self._bench.time_paths(shipment, self._device, self._store)
            test = evaluate_configuration(self.statistics.test, self.table, configuration)
            self._done[key] = TimedWhole(shipment, candidate, test, paths)
        return self._done[key]


def _best_whole(measure: _Measure, decision: Decision, objective: Objective) -> TimedWhole:
    """The winner after measuring: it and its runner-up are timed whole, and the better one that keeps the bounds wins.

    Where none keeps the latency bound whole, the search is asked again for as much less as the whole took more. A
    certified winner has no rival: a certificate speaks of the one configuration that it was held for.

    Raises:
        InfeasibleError: the bound holds for sums of parts only, not for a whole.
    """
    asked, best = objective, decision.winner.candidate
    if decision.certificate:
        return _kept(measure.whole(best), objective)
    for _ in range(ATTEMPTS):
        rivals = runners_up(
            measure.statistics.search, measure.table, asked, best.configuration, error=TABLE_ERROR, count=1
        )
        wholes = [measure.whole(candidate) for candidate in (best, *rivals)]
        kept = [whole for whole in wholes if _keeps(whole, objective)]
        if kept:
            return min(kept, key=lambda whole: _rank(whole, objective))
        asked = _tightened(asked, wholes[0])
        best = search(measure.statistics.search, measure.table, asked).candidate
    return _kept(measure.whole(best), objective)


def _kept(whole: TimedWhole, objective: Objective) -> TimedWhole:
    """The whole, where it keeps the latency bounds."""
    if _keeps(whole, objective):
        return whole
    raise InfeasibleError(
        f"nothing found keeps the latency bound when timed whole; the nearest takes "
        f"{format_duration(whole.expected_ns(whole.search.exit_rates))} expected and {format_duration(whole.worst_ns)} "
        f"at worst with mIoU {whole.search.miou:.4f}: raise the bound"
    )


def _keeps(whole: TimedWhole, objective: Objective) -> bool:
    expected, worst = objective.max_latency_ns, objective.max_worst_latency_ns
    return (expected is None or whole.expected_ns(whole.search.exit_rates) <= expected) and (
        worst is None or whole.worst_ns <= worst
    )


def _rank(whole: TimedWhole, objective: Objective) -> tuple[float, float]:
    latency = whole.expected_ns(whole.search.exit_rates)
    return (latency, -whole.search.miou) if objective.cheapest else (-whole.search.miou, latency)


def _tightened(objective: Objective, whole: TimedWhole) -> Objective:
    """The objective with its bounds lowered by as much as the whole took more than its parts."""
    excess = (
        max(
            whole.expected_ns(whole.search.exit_rates) / whole.search.latency_ns,
            whole.worst_ns / whole.search.worst_latency_ns,
            1.0,
        )
        * 1.001
    )
    latency, worst = objective.max_latency_ns, objective.max_worst_latency_ns
    return replace(
        objective,
        max_latency_ns=None if latency is None else latency / excess,
        max_worst_latency_ns=None if worst is None else worst / excess,
    )


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
    _winner, manifest = deployment.winner, deployment.bundle.manifest
    expected, worst = manifest.latency.expected, manifest.latency.worst
    single, full = deployment.strongest_single, deployment.reference
    steps = " > ".join(f"{stage.exit} {stage.head} ({stage.rate:.0%})" for stage in manifest.stages)
    images, certificate = len(deployment.proof.answers.exits), deployment.decision.certificate
    single_ns, full_ns = single.paths[0].median_ns, full.paths[0].median_ns
    return [
        f"{deployment.request.target.name}: {manifest.setting}, {steps}",
        f"  latency  {format_duration(expected.value_ns)} expected, {format_duration(worst.value_ns)} at worst "
        f"({expected.provenance}, timed whole)",
        f"  mIoU     {deployment.proof.miou:.4f} on {images} test images (the shipped file); full network "
        f"{full.test.miou:.4f}",
        f"  against  strongest single exit {format_duration(single_ns)} ({single_ns / expected.value_ns:.2f}x), "
        f"mIoU {single.test.miou:.4f}; full network {format_duration(full_ns)} ({full_ns / expected.value_ns:.2f}x)",
        f"  checked  {len(manifest.artifact.parity.outputs) if manifest.artifact.parity else 0} outputs against eager "
        f"PyTorch, {deployment.phone[0].samples} images on the phone, "
        f"search {'proven optimal' if deployment.decision.winner.optimal else 'not proven optimal'}",
        *([f"  certified {certificate_text(certificate)}"] if certificate else []),
        f"  bundle   {deployment.bundle.folder}",
        f"  report   {deployment.run / 'report.html'}",
        *[f"  warning  {text}" for text in manifest.warnings],
    ]


def result_json(deployment: Deployment, workspace: Workspace) -> dict[str, object]:
    """The manifest's content plus the run folder and what was reused."""
    manifest = msgspec.to_builtins(deployment.bundle.manifest)
    reused = [{"stage": reuse.stage, "what": reuse.what} for reuse in workspace.reused]
    return {**manifest, "run": str(deployment.run), "reused": reused}
