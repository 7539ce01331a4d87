"""The same work on several items at once, on threads that never keep the program from ending."""

from collections import deque
from collections.abc import Callable, Sequence
from threading import Thread
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

LOOK_S = 0.2
"""Seconds between two looks: a Ctrl-C that comes just before an endless wait would not end it."""


def abreast(work: Callable[[Item], Result], items: Sequence[Item], at_once: int) -> list[Result]:
    """`work(item)` of every item, in their order, `at_once` at a time.

    For work that waits on other processes. After a failure nothing more is begun; what is under way is finished, then
    the first failure by the items' order is raised. Ctrl-C ends the wait at once: an executor of the standard library
    would wait for its threads, here for an export of minutes.
    """
    if len(items) < 2 or at_once < 2:
        return [work(item) for item in items]
    waiting = deque(enumerate(items))
    results: dict[int, Result] = {}
    failures: dict[int, BaseException] = {}

    def serve() -> None:
        while not failures:
            try:
                number, item = waiting.popleft()
            except IndexError:
                return
            try:
                results[number] = work(item)
            except BaseException as error:  # noqa: BLE001 - handed to the caller, whatever it is
                failures[number] = error

    threads = [Thread(target=serve, daemon=True) for _ in range(min(at_once, len(items)))]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(LOOK_S)
    except BaseException:
        waiting.clear()
        raise
    if failures:
        raise failures[min(failures)]
    return [results[number] for number in range(len(items))]
