"""What a person sees of long work: bars with the time left at a terminal, plain lines and no colour in a pipe."""

import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.progress import LineProgress, seconds_left, words_of
from pipeline.stage_durations import expected_seconds, remember

WORK = """
import time
from pipeline.progress import terminal_progress
shown = terminal_progress()
with shown.task("counting sheep", 60) as advance:
    for n in range(60):
        time.sleep(0.05)
        advance(1, f"sheep {n}")
with shown.task("one long sleep", 1) as advance:
    time.sleep(0.4)
    advance(1, "")
shown.note("exit4 fcn-r1 [kept]")
"""


@pytest.fixture
def environment(own_cache: Path) -> dict[str, str]:
    return {**os.environ, "XDG_CACHE_HOME": str(own_cache), "TERM": "xterm-256color", "COLUMNS": "110"}


def at_a_terminal(environment: dict[str, str]) -> str:
    """What a terminal of 110 columns is sent."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", WORK], stderr=theirs, stdout=subprocess.DEVNULL, env=environment)
    os.close(theirs)
    sent = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the terminal's other end is closed
            break
        if not part:
            break
        sent += part
    os.close(ours)
    assert process.wait(timeout=60) == 0
    return sent.decode(errors="replace")


def test_a_terminal_shows_bars_with_steps_and_the_time_left(environment: dict[str, str]) -> None:
    sent = at_a_terminal(environment)
    assert "/60" in sent
    assert "left" in sent
    assert "counting sheep" in sent and "one long sleep" in sent
    assert "exit4 fcn-r1 [kept]" in sent
    assert "s so far" in sent  # nobody knows yet how long one long sleep takes


def test_a_stage_of_one_step_shows_the_time_left_by_what_it_took_before(environment: dict[str, str]) -> None:
    remember("one long sleep", 50.0)
    sent = at_a_terminal(environment)
    assert "about 50 s left" in sent or "about 49 s left" in sent


def test_a_pipe_gets_lines_without_a_colour_or_a_cursor_movement(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WORK], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert "\x1b" not in done.stderr and "\r" not in done.stderr
    assert done.stderr.strip().endswith("exit4 fcn-r1 [kept]")
    assert done.stdout == ""


def test_lines_come_while_a_stage_of_one_step_runs(capsys: pytest.CaptureFixture[str], own_cache: Path) -> None:
    remember("search", 30.0)
    with LineProgress(every_s=0.05).task("search", 1) as advance:
        time.sleep(0.2)
        advance(1, "")
    said = capsys.readouterr().err
    assert "search: 0 s, about 30 s left" in said
    assert "search: done in 0 s" in said


def test_lines_say_how_many_steps_and_what_is_left(capsys: pytest.CaptureFixture[str], own_cache: Path) -> None:
    with LineProgress(every_s=0.05).task("training", 400) as advance:
        advance(100, "loss 0.5")
        time.sleep(0.2)
    said = capsys.readouterr().err
    assert "training: 100/400, done any moment, loss 0.5" in said


def test_a_stage_that_fails_leaves_no_thread_and_no_duration(own_cache: Path) -> None:
    import threading

    before = threading.active_count()
    with pytest.raises(RuntimeError), LineProgress(every_s=0.05).task("export: exit1", 1):
        raise RuntimeError("no")
    assert threading.active_count() == before
    assert expected_seconds("export: exit1") is None


def test_the_time_left_goes_by_the_pace_of_the_steps() -> None:
    assert seconds_left(10, 5, 20.0, None) == 20.0
    assert seconds_left(10, 0, 20.0, None) is None
    assert seconds_left(1, 0, 20.0, 60.0) == 40.0
    assert seconds_left(1, 0, 90.0, 60.0) == 0.0
    assert seconds_left(1, 0, 20.0, None) is None
    assert [words_of(left) for left in (40.4, 0.3, None)] == ["about 40 s left", "done any moment", ""]


def test_durations_are_medians_of_the_last_times_by_stage(own_cache: Path) -> None:
    for seconds in (100.0, 10.0, 20.0, 30.0, 40.0, 50.0):
        remember("export: exit1 fcn-r1", seconds)
    remember("export: exit2 fcn-r1", 0.1)  # all of it was in the cache: says nothing
    assert expected_seconds("export: exit4 lraspp-r1") == 30.0
    assert expected_seconds("search") is None


def test_a_spoilt_file_of_durations_counts_as_none(own_cache: Path) -> None:
    remember("search", 10.0)
    (file,) = (own_cache / "mess-deploy" / "durations").glob("*.json")
    file.write_text("{")
    assert expected_seconds("search") is None
    remember("search", 12.0)
    assert expected_seconds("search") == 12.0
