"""Every adaptive configuration of two and more exits: up to three enumerated, more by branch and bound."""

import time
from collections.abc import Iterator

from pipeline.exact_search.adaptive import Task, root, run_task, tasks_behind
from pipeline.exact_search.branch import DeepSearch, relaxations
from pipeline.exact_search.goal import Collector
from pipeline.exact_search.relaxation import Branch
from pipeline.exact_search.space import SearchSpace
from pipeline.exact_search.surrogate import around_best
from pipeline.exact_search.workers import run_until

ENUMERATED = 3  # exits whose every head and threshold the kernel looks at


def cover(space: SearchSpace, max_exits: int, collector: Collector, stop: float) -> list[tuple[int, ...]]:
    """Offer the collector all that it may want; the choices of exits that were not covered by `stop` (monotonic)."""
    largest = min(max_exits, len(space.by_exit))
    few = [exits for count in range(2, min(largest, ENUMERATED) + 1) for exits in space.exit_sets(count)]
    many = [exits for count in range(ENUMERATED + 1, largest + 1) for exits in space.exit_sets(count)]
    left = _enumerate(space, few, collector, stop)
    return [*left, *many] if left else _explore(space, many, collector, stop)


def _enumerate(
    space: SearchSpace, sets: list[tuple[int, ...]], collector: Collector, stop: float
) -> list[tuple[int, ...]]:
    left = list(sets)

    def tasks() -> Iterator[Task]:
        count = 0
        while left:
            exits = left[0]
            if len(exits) > count:  # around the best of the smaller configurations
                count, around = len(exits), around_best(space, collector)
            yield from tasks_behind(space, root(space), exits, around.surrogate(exits))
            left.pop(0)

    def work(task: Task) -> None:
        for found in run_task(space, task, collector):
            collector.offer(found)

    run_until(tasks(), work, stop)
    return left


def _explore(
    space: SearchSpace, sets: list[tuple[int, ...]], collector: Collector, stop: float
) -> list[tuple[int, ...]]:
    search, left = DeepSearch(collector, stop), set(sets)
    unfinished = set[tuple[int, ...]]()

    def branches() -> Iterator[Branch]:
        for relaxation in relaxations(space, sets, collector, stop):
            if time.monotonic() >= stop:
                return
            yield from search.branches(relaxation)
            left.remove(relaxation.exits)

    def work(branch: Branch) -> None:
        if not search.explore(branch):
            unfinished.add(branch.relaxation.exits)

    run_until(branches(), work, stop)
    return sorted(left | unfinished)
