"""What a person sees of long work: bars on a terminal, lines elsewhere, no colour in a pipe, text as it is."""

import contextlib
import os
import pty
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORK = """
from pipeline.progress import terminal_progress
progress = terminal_progress()
progress.note("reading data/[/odd] and [bold]names[/bold]")
with progress.task("stage [1] of [/2]", 3) as advance:
    for _ in range(3):
        advance(1, "loss [/x] 0.5")
"""


def test_a_pipe_gets_lines_without_colour_or_bars() -> None:
    done = subprocess.run([sys.executable, "-c", WORK], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "" and "\x1b" not in done.stderr
    assert "reading data/[/odd] and [bold]names[/bold]" in done.stderr


def test_a_terminal_gets_bars_and_text_as_it_is() -> None:
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen([sys.executable, "-c", WORK], cwd=ROOT, env=environment, stderr=slave)
    os.close(slave)
    shown = b""
    with contextlib.suppress(OSError):  # a pty's way to say that the other side is closed
        while chunk := os.read(master, 4096):
            shown += chunk
    assert process.wait(60) == 0, shown.decode()
    text = shown.decode()
    assert "reading data/[/odd] and [bold]names[/bold]" in text
    assert "stage [1] of [/2]" in text and "/3" in text and "\x1b[" in text
