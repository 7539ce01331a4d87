"""Every adaptive configuration of two and more exits: up to three enumerated, more by branch and bound."""

import time
from collections.abc import Callable, Iterator, Sequence

from pipeline.exact_search.adaptive import Task, root, run_task, tasks_behind
from pipeline.exact_search.branch import DeepSearch, relaxations
from pipeline.exact_search.goal import Collector
from pipeline.exact_search.relaxation import Branch
from pipeline.exact_search.space import SearchSpace
from pipeline.exact_search.surrogate import around_best
from pipeline.exact_search.workers import run_until

ENUMERATED = 3  # exits whose every head and threshold the kernel looks at

ExitSet = tuple[int, ...]
Work = Callable[[Task], None]


def cover(space: SearchSpace, max_exits: int, collector: Collector, stop: float) -> list[ExitSet]:
    """Offer the collector all that it may want; the choices of exits that were not covered by `stop` (monotonic)."""

    def work(task: Task) -> None:
        for found in run_task(space, task, collector):
            collector.offer(found)

    few, many = exit_sets(space, max_exits)
    left = enumerate_whole(space, few, collector, work, stop)
    return [*left, *many] if left else explore(space, many, collector, work, stop)


def exit_sets(space: SearchSpace, max_exits: int) -> tuple[list[ExitSet], list[ExitSet]]:
    """Choices of two and more exits, those of few first: to be enumerated, and to be explored by their bounds."""
    largest = min(max_exits, len(space.by_exit))
    sets = [exits for count in range(2, largest + 1) for exits in space.exit_sets(count)]
    return [s for s in sets if len(s) <= ENUMERATED], [s for s in sets if len(s) > ENUMERATED]


def enumerate_whole(
    space: SearchSpace, sets: Sequence[ExitSet], collector: Collector, work: Work, stop: float
) -> list[ExitSet]:
    """`work` on tasks that hold every head and threshold of each choice of exits; the choices left at `stop`."""
    left = list(sets)

    def tasks() -> Iterator[Task]:
        count = 0
        while left:
            exits = left[0]
            if len(exits) > count:  # around the best of the smaller configurations
                count, around = len(exits), around_best(space, collector)
            yield from tasks_behind(space, root(space), exits, around.surrogate(exits))
            left.pop(0)

    run_until(tasks(), work, stop)
    return left


def explore(
    space: SearchSpace, sets: Sequence[ExitSet], collector: Collector, work: Work, stop: float
) -> list[ExitSet]:
    """`work` on tasks with all that meets the collector's bounds, by branch and bound; the choices left at `stop`."""
    search, left, unfinished = DeepSearch(collector, work, stop), set(sets), set[ExitSet]()

    def branches() -> Iterator[Branch]:
        for relaxation in relaxations(space, sets, collector, stop):
            if time.monotonic() >= stop:
                return
            yield from search.branches(relaxation)
            left.remove(relaxation.exits)

    def look_into(branch: Branch) -> None:
        if not search.explore(branch):
            unfinished.add(branch.relaxation.exits)

    run_until(branches(), look_into, stop)
    return sorted(left | unfinished)
