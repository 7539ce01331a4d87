"""The commands in the documentation: read out of its pages by their markers, and run in a folder of their own.

A fenced block of shell commands (```sh) has a comment in the line before it that says what tests do with it:

    <!-- run -->                                  run by `make test`
    <!-- run slow -->                             run by `make nightly`
    <!-- run slow; exit 3; shows nearest -->      ends with this exit code, and its output has this text in it
    <!-- not run: needs an attached phone -->     only parsed; why

The blocks of a page run one after the other in one folder, in which what they write stays.
"""

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
_BLOCK = re.compile(r"(?:<!-- (?P<marker>[^\n]*?) -->\n)?```sh\n(?P<text>.*?)```", re.DOTALL)
_MARKER = re.compile(r"(?P<when>run slow|run)(; exit (?P<code>\d+))?(; shows (?P<text>.+))?|not run: (?P<reason>.+)")


@dataclass(frozen=True)
class Block:
    """A block of shell commands, and what is to be done with it."""

    page: str
    line: int
    text: str
    when: Literal["run", "run slow", "not run", "unmarked"]
    code: int = 0
    shows: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """Pages that people write; the reference is made from the code."""
    return [path for path in sorted(DOCS.rglob("*.md")) if not {"reference", "_build"} & set(path.parts)]


def blocks(page: Path) -> list[Block]:
    """The shell blocks of a page, in order."""
    text = page.read_text()
    return [_block(page, text.count("\n", 0, found.start()) + 1, found) for found in _BLOCK.finditer(text)]


def _block(page: Path, line: int, found: re.Match[str]) -> Block:
    name = str(page.relative_to(ROOT)) if page.is_relative_to(ROOT) else page.name
    marker = _MARKER.fullmatch(found["marker"] or "")
    if marker is None:
        return Block(name, line, found["text"], "unmarked")
    if marker["reason"]:
        return Block(name, line, found["text"], "not run")
    when: Literal["run", "run slow"] = "run slow" if marker["when"] == "run slow" else "run"
    return Block(name, line, found["text"], when, int(marker["code"] or 0), marker["text"] or "")


def commands(block: Block) -> list[list[str]]:
    """The words of every `python -m pipeline` in a block, after `pipeline`."""
    lines = block.text.replace("\\\n", " ").splitlines()
    found = [re.search(r"python -m pipeline\s+(.*?)\s*(?:[|>].*)?$", line.split(" #")[0]) for line in lines]
    return [[word for word in shlex.split(match[1]) if word != "$PHONES"] for match in found if match]


def run(block: Block, folder: Path, environment: dict[str, str]) -> None:
    """Run a block in `folder`; raises AssertionError where it ends or answers otherwise than its marker says."""
    own = {
        **environment,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    words = ["bash", "-euo", "pipefail", "-c", block.text]
    done = subprocess.run(words, cwd=folder, env=own, capture_output=True, text=True, timeout=1500, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == block.code, f"{block} ended with {done.returncode}:\n{said[-3000:]}"
    assert block.shows in said, f"{block} does not show {block.shows!r}:\n{said[-3000:]}"
