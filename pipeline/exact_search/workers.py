"""Run a stream of tasks on every core until it ends or the time is up."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from device_profiler.host import cores

Task = TypeVar("Task")


def run_until(tasks: Iterator[Task], work: Callable[[Task], None], deadline: float) -> bool:
    """Call `work` on every task from as many threads as there are cores; False where the time was up before the end.

    deadline: on time.monotonic(); tasks under way are finished, none is started after it. `work` must release the
    interpreter lock to gain from more than one core. An exception in `work`, or Ctrl-C, ends the run and is raised.
    """
    limit = cores()
    pending: set[Future[None]] = set()
    with ThreadPoolExecutor(limit) as pool:
        for task in tasks:
            if time.monotonic() >= deadline:
                _collect(pending)
                return False
            pending.add(pool.submit(work, task))
            if len(pending) >= 2 * limit:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                _collect(done)
        _collect(pending)
    return True


def _collect(futures: set[Future[None]]) -> None:
    for future in futures:
        future.result()
