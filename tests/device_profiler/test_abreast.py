"""Work on several items at once: in order, bounded, and never in the way of ending."""

import subprocess
import sys
import threading

import pytest

from device_profiler.abreast import abreast


def test_results_stand_in_the_items_order_and_two_are_under_way_at_once() -> None:
    meeting = threading.Barrier(2, timeout=30)

    def work(item: int) -> int:
        meeting.wait()  # broken, and so a failure, unless two come together
        return item * item

    assert abreast(work, range(6), 2) == [0, 1, 4, 9, 16, 25]


def test_after_a_failure_nothing_more_is_begun_and_the_first_is_raised() -> None:
    begun: list[int] = []
    both = threading.Barrier(2, timeout=30)

    def work(item: int) -> None:
        begun.append(item)
        both.wait()
        raise ValueError(f"item {item}")

    with pytest.raises(ValueError, match="item 0"):
        abreast(work, range(9), 2)
    assert sorted(begun) == [0, 1]


ENDLESS = """
import os, signal, threading
from device_profiler.abreast import abreast
begun = threading.Barrier(2)

def work(item):
    if begun.wait() == 0:
        os.kill(os.getpid(), signal.SIGINT)
    threading.Event().wait()

abreast(work, (1, 2, 3), 2)
"""


def test_ctrl_c_ends_the_program_although_the_work_never_does() -> None:
    done = subprocess.run([sys.executable, "-c", ENDLESS], capture_output=True, text=True, timeout=60)
    assert "KeyboardInterrupt" in done.stderr
