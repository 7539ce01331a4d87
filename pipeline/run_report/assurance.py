"""How sure a decision is: what speaks for it and what to mind, each line with its figures."""

from dataclasses import dataclass
from typing import Literal

from device_profiler.measurement import VerdictKind
from pipeline.run_report import wording
from pipeline.run_report.figures import (
    Kept,
    check_constraint,
    expected,
    expected_by_parts,
    final_score,
    parts_error,
    speed_up,
    worst,
)
from pipeline.run_report.record import Constraint, RunReport
from pipeline.run_report.tables import same_network

Level = Literal["good", "mind", "bad"]

PARTS_AGREE = 0.05
"""Sum of parts and whole agree within this share: coarse parts of a cascade were found to differ by 0 to 4 %."""


@dataclass(frozen=True)
class Assurance:
    """One line of the list: `title` is the finding, `text` the figures behind it."""

    level: Level
    title: str
    text: str


def assurances(report: RunReport) -> list[Assurance]:
    """Every line, worst first."""
    lines = [
        _provenance(report),
        *_units(report),
        *_accelerator(report),
        *_comparable(report),
        _whole_against_parts(report),
        *(_constraint(report, bound) for bound in report.constraints),
        _parity(report),
        _search(report),
        *_sensitivity(report),
        *_threshold(report),
    ]
    return sorted(lines, key=lambda line: ("bad", "mind", "good").index(line.level))


def _provenance(report: RunReport) -> Assurance:
    source = expected(report.chosen).source
    title = f"Latencies are {source.provenance}"
    level: Level = "good" if source.provenance == "measured" else "mind"
    return Assurance(level, title, f"{wording.PROVENANCE_MEANING[source.provenance].capitalize()}.")


def _units(report: RunReport) -> list[Assurance]:
    source = expected(report.chosen).source
    if source.requested_unit == source.actual_unit:
        return []
    return [
        Assurance(
            "bad",
            "Another unit answered",
            f"The {source.requested_unit.upper()} was asked for; these are times of the {source.actual_unit.upper()}.",
        )
    ]


def _accelerator(report: RunReport) -> list[Assurance]:
    verdicts = [path.whole.verdict for path in report.chosen.paths if path.whole.verdict]
    if not verdicts:
        return []
    levels: dict[VerdictKind, Level] = {"PROVEN": "good", "PLAUSIBLE": "mind", "REFUTED": "bad"}
    verdict = max(verdicts, key=lambda one: list(levels).index(one.kind))  # the weakest path's
    return [Assurance(levels[verdict.kind], f"That the accelerator ran is {verdict}", f"{'; '.join(verdict.reasons)}.")]


def _comparable(report: RunReport) -> list[Assurance]:
    chosen = expected(report.chosen)
    others = (report.strongest_single, report.reference)
    if all(speed_up(chosen, expected(other)) is not None for other in others):
        return []
    return [
        Assurance(
            "bad",
            "Not every speed-up can be given",
            "Its two latencies differ in provenance or unit, and such figures don't rank beside each other.",
        )
    ]


def _whole_against_parts(report: RunReport) -> Assurance:
    whole = expected(report.chosen)
    error = parts_error(whole.ns, expected_by_parts(report.chosen))
    agree = abs(error) <= PARTS_AGREE
    title = "The whole confirms the parts" if agree else "The whole differs from its parts"
    return Assurance(
        "good" if agree else "mind",
        title,
        f"As a whole: {wording.duration(whole.ns)} ({whole.source.provenance}); by the latency table: "
        f"{wording.duration(expected_by_parts(report.chosen))} ({report.table.provenance}); "
        f"the parts say {wording.deviation(error)}.",
    )


def _constraint(report: RunReport, bound: Constraint) -> Assurance:
    candidate, reference = report.chosen.candidate, report.reference.candidate
    promised = check_constraint(
        bound, candidate.search, reference.search, candidate.search.latency_ns, candidate.search.worst_latency_ns
    )
    found = check_constraint(
        bound, final_score(candidate), final_score(reference), expected(report.chosen).ns, worst(report.chosen).ns
    )
    level: Level = "good" if found.holds and promised.holds else "mind" if promised.holds else "bad"
    title = f"{'Holds' if found.holds else 'Does not hold'} on new images: {wording.constraint(bound)}"
    return Assurance(
        level,
        title,
        f"Search split: {_said(report, bound, promised)}; "
        f"{'test split' if candidate.test else 'not tested'}, as a whole: {_said(report, bound, found)}.",
    )


def _said(report: RunReport, bound: Constraint, kept: Kept) -> str:
    if bound.kind == "max_drop":
        return f"{wording.points(-kept.value)} against the full network"
    if bound.kind == "min_miou":
        return wording.percent(kept.value)
    return f"{wording.duration(kept.value)} ({report.table.provenance})"


def _parity(report: RunReport) -> Assurance:
    failed = [check for check in report.parity if not check.passed]
    if failed:
        return Assurance("bad", "Parity failed", f"{len(failed)} of {len(report.parity)} checks are out of tolerance.")
    if not report.parity:
        return Assurance("bad", "Parity was not checked", "Nothing shows that the artifact is right.")
    places = " and ".join(dict.fromkeys(check.place for check in report.parity))
    return Assurance(
        "good",
        "The artifact computes what the network does",
        f"{len(report.parity)} parity checks within tolerance ({places}).",
    )


def _search(report: RunReport) -> Assurance:
    facts = report.search
    tried = f"{facts.configurations:,} configurations in {wording.seconds(facts.seconds)}"
    if facts.optimal:
        return Assurance(
            "good",
            "No better configuration exists in the space",
            f"Proven on the search split: {tried}, each image routed as it would be.",
        )
    return Assurance("mind", "A better configuration may exist", f"The search was not exhaustive: {tried}.")


def _sensitivity(report: RunReport) -> list[Assurance]:
    if not report.sensitivity:
        return []
    chosen = report.chosen.candidate.choice
    moves = [choice for row in report.sensitivity for choice in (row.at_half, row.at_double)]
    changed = sum(not same_network(choice, chosen) for choice in moves)
    if not changed:
        return [
            Assurance(
                "good",
                "Robust to the device model",
                f"The same exits and heads win in all {len(moves)} moves of an assumed parameter by 2×.",
            )
        ]
    return [
        Assurance(
            "mind",
            "Depends on the device model",
            f"Other exits or heads win, or nothing meets the objective, in {changed} of {len(moves)} moves of an "
            "assumed parameter by 2×.",
        )
    ]


def _threshold(report: RunReport) -> list[Assurance]:
    if report.near_threshold is None or report.setting != "adaptive":
        return []
    if not report.near_threshold:
        return [Assurance("good", "Routing is stable", "No test image lies within the parity error of its threshold.")]
    return [
        Assurance(
            "mind",
            "Some images may route differently on the phone",
            f"{report.near_threshold} test images lie within the parity error of their threshold.",
        )
    ]
