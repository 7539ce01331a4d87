"""The Pareto fronts of every setting for the report: the decision's, and those that the objective did not ask for."""

from dataclasses import dataclass

from pipeline.deployment import Deployment
from pipeline.exact_search.configuration import Candidate, Front
from pipeline.exact_search.front import front
from pipeline.exact_search.objective import SETTINGS, Objective
from pipeline.workspace import Workspace

TIME_LIMIT_S = 30.0
"""What a front that nobody asked for may take; a front cut short says that it is not proven complete."""
READOUTS = (0.25, 0.5, 0.75, 1.0)
"""Where the objective names no deadlines, an anytime result is read at these shares of the full network's latency."""


@dataclass(frozen=True)
class ReadFront:
    """A front, and when an anytime result is read (empty for other settings)."""

    front: Front
    deadlines_ns: tuple[float, ...] = ()

    @property
    def points(self) -> tuple[Candidate, ...]:
        """The Pareto points by rising latency."""
        return self.front.points


def every_front(deployment: Deployment, workspace: Workspace) -> tuple[ReadFront, ...]:
    """One front for each setting, the decision's own first."""
    decided, objective = deployment.decision.fronts, deployment.request.objective
    found = [ReadFront(one, objective.deadlines_ns if one.setting == "anytime" else ()) for one in decided]
    missing = [setting for setting in SETTINGS if setting not in {one.setting for one in decided}]
    if not missing:
        return tuple(found)
    with workspace.timed("fronts of the other settings"), workspace.progress.task("other fronts", len(missing)) as step:
        for setting in missing:
            found.append(_searched(deployment, setting))
            step(1, setting)
    return tuple(found)


def _searched(deployment: Deployment, setting: str) -> ReadFront:
    learned, asked = deployment.learned, deployment.request.objective
    deadlines = _readouts(deployment) if setting == "anytime" else ()
    objective = Objective(
        setting=setting,
        deadlines_ns=deadlines,
        max_worst_latency_ns=asked.max_worst_latency_ns,
        max_exits=asked.max_exits,
        threshold_grid=asked.threshold_grid,
        time_limit_s=min(asked.time_limit_s, TIME_LIMIT_S),
        unit=asked.unit,
    )
    return ReadFront(front(learned.statistics.search, learned.table, objective), deadlines)


def _readouts(deployment: Deployment) -> tuple[float, ...]:
    return tuple(share * deployment.decision.reference.latency_ns for share in READOUTS)
