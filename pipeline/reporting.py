"""Fills the report's record from a finished deployment and writes report.json, report.html and front.json."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import cast

import msgspec
import numpy as np

from device_profiler.files import write_atomic
from mobile_export.artifact import Artifact
from mobile_export.parity import confidence_limit
from pipeline.bundling import class_ious
from pipeline.costing import finish_ns, part_cost
from pipeline.deciding import macs_table
from pipeline.deployment import Deployment, TimedWhole
from pipeline.evaluation import constant_miou, majority_class
from pipeline.evidence import entry_facts, quantisation_facts, repeat_facts, shipped_facts
from pipeline.exact_search.configuration import Candidate as Found
from pipeline.exact_search.configuration import Configuration
from pipeline.exact_search.evaluate import evaluate_configuration, head_indices, route_costs, routed_overlap
from pipeline.exact_search.objective import DEFAULT_MAX_DROP, Objective
from pipeline.exact_search.uncertainty import miou_interval
from pipeline.exit_statistics import ExitStatistics, mean_iou
from pipeline.fronts import ReadFront, every_front
from pipeline.gallery import examples
from pipeline.input_sizes import SizeOffer
from pipeline.model import count_model
from pipeline.partition import block_entry, finish_entry, head_entry
from pipeline.profiling import PartProfile
from pipeline.run_report import (
    HTML_NAME,
    JSON_NAME,
    ArtifactFacts,
    Candidate,
    Choice,
    Constraint,
    DataFacts,
    ExitGroup,
    ExitScore,
    FrontFacts,
    MajorityGuess,
    ParityCheck,
    PartTiming,
    PathTiming,
    Reused,
    RunReport,
    Score,
    SearchFacts,
    Sensitivity,
    StageTime,
    Timing,
    TimingSource,
    Whole,
    read_curve,
    render,
    timing_of,
    write_report,
)
from pipeline.run_report.candidate import Setting
from pipeline.run_report.candidate import SizeOffer as SizeFacts
from pipeline.run_report.record import ConstraintKind
from pipeline.run_report.timing import PartKind
from pipeline.workspace import Workspace


def write_reports(deployment: Deployment, workspace: Workspace) -> None:
    """Write front.json, report.json and report.html into the run folder."""
    fronts = every_front(deployment, workspace)
    content = msgspec.json.encode([read.front for read in fronts])
    write_atomic(workspace.run / "front.json", msgspec.json.format(content, indent=1))
    with workspace.progress.task("report", 1) as advance:
        report = _Facts(deployment, workspace, fronts).report()
        write_report(report, workspace.run / JSON_NAME)
        render(report, workspace.run / HTML_NAME, read_curve(workspace.run))
        advance(1, "")


class _Facts:
    """One deployment as the report's record."""

    def __init__(self, deployment: Deployment, workspace: Workspace, fronts: Sequence[ReadFront]) -> None:
        self.deployment, self.workspace, self.fronts = deployment, workspace, fronts
        self.spec = deployment.network.spec
        self.learned = deployment.learned
        self.test, self.search = self.learned.statistics.test, self.learned.statistics.search
        self.cost = count_model(self.learned.model, deployment.network.policy)

    def report(self) -> RunReport:
        """The whole record."""
        d, network = self.deployment, self.deployment.network
        first = d.winner.paths[0]
        return RunReport(
            run=d.run.name,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            target=d.request.target,
            device=d.identity,
            form=d.identity.properties.get("ro.mess.form", "network" if ":" in d.identity.address else "USB"),
            backbone=self.spec.backbone,
            input_size=self.spec.size,
            frame_size=d.request.app.frame,
            sizes=tuple(map(_size_offer, d.sizes)),
            policy=network.policy,
            data=self._data(),
            exits=self.spec.exit_names,
            setting=d.winner.shipment.configuration.ships_as,
            constraints=_constraints(d.request.objective),
            search=_search_facts(d),
            table=self._source(),
            chosen=self._whole(d.winner),
            reference=self._whole(d.reference),
            strongest_single=self._whole(d.strongest_single),
            singles=self._singles(),
            front=tuple(self._on_front(found, read.front.setting) for read in self.fronts for found in read.points),
            fronts=tuple(_front_facts(read) for read in self.fronts),
            parts=self._parts(),
            exit_scores=self._exit_scores(),
            majority=self._majority(),
            groups=self._groups(),
            near_threshold=d.proof.near_threshold,
            shipped=shipped_facts(d),
            certificate=d.bundle.manifest.certificate,
            examples=examples(d),
            parity=self._parity(),
            artifacts=self._artifacts(),
            entries=entry_facts(d.bundle.manifest.artifact),
            quantisation=quantisation_facts(d, self.workspace),
            sensitivity=self._sensitivity(),
            winner_by_macs=_choice(d.decision.winner_by_macs),
            state_before=first.state_before,
            state_after=first.state_after,
            reused=tuple(Reused(stage=r.stage, what=r.what) for r in self.workspace.reused),
            stages=tuple(StageTime(stage=s.stage, seconds=s.seconds, beside=s.beside) for s in self.workspace.spans),
            repeat=repeat_facts(d),
            warnings=tuple(self.workspace.warnings),
        )

    def _source(self) -> TimingSource:
        taken = self.learned.profile.parts[block_entry(0)].measurement
        return timing_of(taken).source

    def _data(self) -> DataFacts:
        source = self.deployment.network.source
        splits = (source.train, source.search, source.certify, source.test)
        return DataFacts(
            source=source.spec,
            images={split.name: len(split) for split in splits},
            classes=source.classes.names,
            note=source.rule,
        )

    def _whole(self, whole: TimedWhole) -> Whole:
        configuration = whole.shipment.configuration
        costs = self._path_costs(configuration)
        paths = tuple(
            PathTiming(exit=exit_index, whole=timing_of(path), parts_ns=parts)
            for exit_index, path, parts in zip(configuration.exits, whole.paths, costs, strict=True)
        )
        return Whole(candidate=self._candidate(whole.search, whole.test), paths=paths)

    def _path_costs(self, configuration: Configuration) -> tuple[float, ...]:
        heads = head_indices(self.search, configuration)
        return route_costs(self.learned.table, configuration.exits, heads)

    def _candidate(self, found: Found, test: Found | None) -> Candidate:
        anytime = found.configuration.setting == "anytime"
        return Candidate(
            choice=_choice(found.configuration),
            search=_score(found, None),
            test=None if test is None else _score(test, None if anytime else self.test),
            macs=self._macs(found.configuration),
        )

    def _macs(self, configuration: Configuration) -> float | None:
        """Expected multiply-adds; None where a deadline decides, which is a time."""
        if configuration.setting == "anytime":
            return None
        macs = macs_table(self.learned.table, self.cost, configuration.exits[-1])
        return evaluate_configuration(self.search, macs, configuration).latency_ns

    def _on_front(self, found: Found, setting: str) -> Candidate:
        """A Pareto point under the setting that it was found in."""
        configuration = found.configuration
        choice = Choice(
            setting=cast(Setting, setting),
            exits=configuration.exits,
            heads=configuration.heads,
            thresholds=configuration.thresholds,
        )
        return Candidate(choice=choice, search=_score(found, None), macs=self._macs(configuration))

    def _singles(self) -> tuple[Candidate, ...]:
        found = []
        for e, names in enumerate(self.spec.heads):
            for name in names:
                configuration = Configuration("budgeted", (e,), (name,))
                on_search = evaluate_configuration(self.search, self.learned.table, configuration)
                on_test = evaluate_configuration(self.test, self.learned.table, configuration)
                found.append(self._candidate(on_search, on_test))
        return tuple(found)

    def _parts(self) -> tuple[PartTiming, ...]:
        table, rows = self.learned.table, []
        model = self.learned.device_model
        cost = part_cost(model)
        finish, judged = finish_ns(self.spec, self.learned.profile, cost), self.cost.judged()
        for e, names in enumerate(self.spec.heads):
            block = table.blocks[e] - (finish if e == 0 else 0.0)
            rows.append(self._part("block", block_entry(e), block, e, "", self.cost.blocks[e]))
            for h, name in enumerate(names):
                head = table.heads[e][h]
                assert head is not None
                rows.append(self._part("head", head_entry(e, name), head, e, name, judged[e][h]))
            rows.append(self._part("finish", finish_entry(e), finish, e, "", 0))
        if table.boundary_ns:
            timing = Timing(
                ns=table.boundary_ns,
                low_ns=table.boundary_ns,
                high_ns=table.boundary_ns,
                samples=1,
                source=self._source(),
                note="one more call of the accelerator",
            )
            rows.append(PartTiming(kind="boundary", timing=timing))
        return tuple(rows)

    def _part(self, kind: PartKind, entry: str, ns: float, exit_index: int, head: str, macs: int) -> PartTiming:
        part: PartProfile = self.learned.profile.parts[entry]
        timing = timing_of(part.measurement)
        change = ns - timing.ns
        shown = msgspec.structs.replace(
            timing, ns=ns, low_ns=max(0.0, timing.low_ns + change), high_ns=max(0.0, timing.high_ns + change)
        )
        return PartTiming(
            kind=kind, timing=shown, exit=exit_index, head=head, macs=float(macs) or None, reused=part.reused
        )

    def _exit_scores(self) -> tuple[ExitScore, ...]:
        return tuple(
            ExitScore(
                exit=e,
                head=name,
                miou=self.test.miou(e, h),
                class_iou=tuple(None if np.isnan(x) else float(x) for x in self.test.class_iou(e, h)),
                macs=float(self.cost.total(e, h)),
            )
            for e, names in enumerate(self.spec.heads)
            for h, name in enumerate(names)
        )

    def _majority(self) -> MajorityGuess:
        source = self.deployment.network.source
        count, ignore = len(source.classes.names), source.classes.ignore
        common = majority_class(source.train, count, ignore)
        return MajorityGuess(
            name=source.classes.names[common], miou=constant_miou(source.test, common, count, ignore)
        )

    def _groups(self) -> tuple[ExitGroup, ...]:
        proof, exits = self.deployment.proof, self.deployment.winner.shipment.configuration.exits
        answers, groups = proof.answers, []
        if proof.exits_miou:  # a deadline decides: every image may leave at any of them
            pairs = zip(exits, proof.exits_miou, strict=True)
            return tuple(ExitGroup(exit=e, images=len(answers.exits), miou=miou) for e, miou in pairs)
        for n, e in enumerate(exits):
            here = answers.exits == n
            sums = answers.intersection[here].sum(axis=0), answers.union[here].sum(axis=0)
            groups.append(ExitGroup(exit=e, images=int(here.sum()), miou=mean_iou(*sums) if here.any() else None))
        return tuple(groups)

    def _parity(self) -> tuple[ParityCheck, ...]:
        on_host = list(_parity_rows(self.deployment.winner.shipment.artifact))
        on_phone = [
            ParityCheck(
                place="phone",
                entry=row.entry,
                figure=row.figure,
                value=row.value,
                limit=row.limit,
                at_most=row.at_most,
                samples=row.samples,
            )
            for row in self.deployment.phone
        ]
        return (*on_host, *on_phone)

    def _artifacts(self) -> tuple[ArtifactFacts, ...]:
        artifact = self.deployment.bundle.manifest.artifact
        share = float(np.mean([entry.delegated_share for entry in artifact.entries]))
        return (
            ArtifactFacts(
                name=artifact.path, sha256=artifact.sha256, size_bytes=artifact.size_bytes, delegated_share=share
            ),
        )

    def _sensitivity(self) -> tuple[Sensitivity, ...]:
        return tuple(
            Sensitivity(
                parameter=doubt.parameter,
                value=doubt.value,
                unit=doubt.unit,
                source=doubt.source,
                at_half=None if doubt.at_half is None else _choice(doubt.at_half),
                at_double=None if doubt.at_double is None else _choice(doubt.at_double),
            )
            for doubt in self.deployment.doubts
        )


def _choice(configuration: Configuration) -> Choice:
    return Choice(
        setting=configuration.ships_as,
        exits=configuration.exits,
        heads=configuration.heads,
        thresholds=configuration.thresholds,
    )


def _size_offer(offer: SizeOffer) -> SizeFacts:
    best = None
    if offer.best is not None:
        best = Candidate(choice=_choice(offer.best.configuration), search=_score(offer.best, None))
    return SizeFacts(size=offer.size, full_miou=offer.full_miou, best=best, chosen=offer.chosen)


def _score(found: Found, statistics: ExitStatistics | None) -> Score:
    """`statistics` (of the split that `found` was evaluated on) adds the interval and the IoU by class."""
    score = Score(
        miou=found.miou,
        latency_ns=found.latency_ns,
        worst_latency_ns=found.worst_latency_ns,
        exit_rates=found.exit_rates,
    )
    if statistics is None:
        return score
    low, high = miou_interval(statistics, found.configuration)
    sums = [part.sum(axis=0) for part in routed_overlap(statistics, found.configuration)]
    return msgspec.structs.replace(score, miou_low=low, miou_high=high, class_iou=class_ious(*sums))


def _constraints(objective: Objective) -> tuple[Constraint, ...]:
    drop = objective.max_drop
    if objective.cheapest and objective.min_miou is None and drop is None:
        drop = DEFAULT_MAX_DROP
    pairs: list[tuple[ConstraintKind, float | None]] = [
        ("max_latency", objective.max_latency_ns),
        ("max_worst_latency", objective.max_worst_latency_ns),
        ("min_miou", objective.min_miou),
        ("max_drop", drop),
    ]
    return tuple(Constraint(kind=kind, bound=bound) for kind, bound in pairs if bound is not None)


def _front_facts(read: ReadFront) -> FrontFacts:
    front = read.front
    return FrontFacts(
        setting=cast(Setting, front.setting),
        optimal=front.optimal,
        configurations=front.configurations,
        seconds=front.seconds,
        deadlines_ns=read.deadlines_ns,
    )


def _search_facts(deployment: Deployment) -> SearchFacts:
    found = deployment.decision.winner
    return SearchFacts(
        configurations=found.configurations, seconds=found.seconds, optimal=found.optimal, bound=found.bound
    )


def _parity_rows(artifact: Artifact) -> Sequence[ParityCheck]:
    if artifact.parity is None:
        return ()
    rows, allowed = [], artifact.parity.tolerance
    for output in artifact.parity.outputs:
        where = f"{output.entry}.{output.output}"
        agreements = (
            ("share of equal labels", "map_agreement", output.label_agreement if output.output == "labels" else None),
            ("share of equal labels where the best class leads clearly", "clear_agreement", output.clear_agreement),
        )
        rows += [
            ParityCheck(
                place="host",
                entry=where,
                figure=figure,
                value=share,
                limit=allowed[limit],
                at_most=False,
                samples=output.samples,
            )
            for figure, limit, share in agreements
            if share is not None
        ]
        if output.output == "confidence":
            rows.append(
                ParityCheck(
                    place="host",
                    entry=where,
                    figure="largest error",
                    value=output.max_abs_error,
                    limit=confidence_limit(artifact.entry(output.entry), allowed),
                    samples=output.samples,
                )
            )
    return rows
