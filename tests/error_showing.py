"""Provokes the errors of the list: a command line in a folder of its own, or a call; and writes the list anew.

`python -m tests.error_showing [RECORD]` runs every entry's provocation and writes into the list what it shows now. With
a record (`pytest --record-errors RECORD`) entries that name a test are renewed too, and errors without an entry get
one. Entries that nothing in the code gives any more are dropped. `--keep` provokes nothing: it only drops and adds.
Read the difference before you commit it.
"""

import argparse
import contextlib
import io
import json
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

import pytest

from device_profiler.errors import PipelineError
from device_profiler.files import cache_folder
from pipeline import __main__ as command_line
from tests.error_catalogue import LIST, Listed, as_unshown, listed, plain, sites
from tests.error_recorder import recorded
from tests.provocations import folders

HEAD = "# Every error of the command line: see tests/error_catalogue.py for the fields and how an entry comes about.\n"


@dataclass(frozen=True)
class Shown:
    """What a provocation gave: the file that made the error, its line, the exit code, all of stderr, all of stdout."""

    at: str
    text: str
    exit: int
    stderr: str = ""
    stdout: str = ""


@contextlib.contextmanager
def place_of_its_own(folder: Path) -> Iterator[tuple[Path, pytest.MonkeyPatch]]:
    """An empty folder to stand in, an empty cache, no phone of the user's; what a command silences is given back."""
    here, compiled, silenced = folder / "here", cache_folder("numba"), logging.root.manager.disable
    here.mkdir()
    (folder / "cache" / compiled.parent.name).mkdir(parents=True)
    (folder / "cache" / compiled.parent.name / "numba").symlink_to(compiled)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(here)
            for name, value in (("XDG_CACHE_HOME", "cache"), ("XDG_RUNTIME_DIR", "runtime")):
                patch.setenv(name, str(folder / value))
            yield here, patch
    finally:
        logging.disable(silenced)


def show(entry: Listed, folder: Path) -> Shown:
    """Provoke an entry that has `words` or `by` in the empty `folder`."""
    with place_of_its_own(folder) as (here, patch), recorded("") as seen:
        shown = _typed(entry, here, patch) if entry.words else _called(entry, here, patch)
    makers = [error.at for error in seen if shown.text.endswith(error.text)] or [error.at for error in seen]
    return replace(shown, at=makers[-1] if makers else "", text=plain(shown.text, here))


def _typed(entry: Listed, here: Path, patch: pytest.MonkeyPatch) -> Shown:
    if entry.folder:
        getattr(folders, entry.folder)(here)
    patch.setattr(sys, "argv", ["pipeline", *entry.words])
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = command_line.main()
    last = (err.getvalue().strip().splitlines() or [""])[-1]
    return Shown("", last, code, err.getvalue(), out.getvalue())


def _called(entry: Listed, here: Path, patch: pytest.MonkeyPatch) -> Shown:
    module, name = entry.by.split(":")
    try:
        getattr(import_module(f"tests.provocations.{module}"), name)(here, patch)
    except PipelineError as error:
        return Shown("", f"error: {error}", error.exit_code, f"error: {error}")
    return Shown("", "", 0)


def renewed(entry: Listed) -> Listed:
    """The entry with what its provocation shows now; `…` stays where it still stands for something."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            shown = show(entry, Path(folder))
    except (ImportError, AttributeError, TypeError) as error:
        print(f"left as it is, {error}: {' '.join(entry.words) or entry.by}", file=sys.stderr)
        return entry
    text = entry.text if entry.shows(shown.text) else shown.text
    return replace(entry, at=shown.at, text=text, exit=shown.exit)


def from_record(record: Path) -> list[Listed]:
    """An entry for every error that a test raised, one a place and test."""
    found: dict[tuple[str, int, str], Listed] = {}
    for line in record.read_text().splitlines():
        seen = json.loads(line)
        text = f"error: {seen['text']}"
        if seen["test"] and "\n" not in text:
            key = (seen["at"], seen["line"], seen["test"])
            found.setdefault(key, Listed(seen["at"], text, seen["exit"], test=seen["test"]))
    return list(found.values())


def completed(entries: list[Listed], seen: list[Listed]) -> list[Listed]:
    """Stale entries dropped, and an entry out of the record for every place that lacks one."""
    places = sites()
    kept = [e for e in entries if any(s.at == e.at and s.gives(e.text.removeprefix("error: ")) for s in places)]
    for site in places:
        mine = [e for e in kept if e.at == site.at and site.gives(e.text.removeprefix("error: "))]
        fitting = [e for e in seen if e.at == site.at and site.gives(e.text.removeprefix("error: "))]
        if not [e for e in mine if not e.unshown]:
            kept += fitting[:1] or ([] if mine else [as_unshown(site)])
    return [e for e in kept if not e.unshown or not _shown_too(e, kept)]


def _shown_too(unshown: Listed, entries: list[Listed]) -> bool:
    return any(e.at == unshown.at and not e.unshown and unshown.shows(e.text) for e in entries)


def written(entries: list[Listed]) -> str:
    """The list as TOML."""
    blocks = []
    for entry in entries:
        fields = {name: value for name, value in vars(entry).items() if value not in ("", (), False)}
        lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in fields.items()]
        blocks.append("\n[[error]]\n" + "".join(lines))
    return HEAD + "".join(blocks)


def renewed_by_tests(entries: list[Listed], seen: list[Listed]) -> list[Listed]:
    """Entries that name a test, with what the record says that it raises; others as they are."""
    texts = {(e.at, e.test): [r for r in seen if (r.at, r.test) == (e.at, e.test)] for e in entries if e.test}
    found: list[Listed] = []
    for entry in entries:
        now = texts.get((entry.at, entry.test), [])
        found += [entry] if not now or any(entry.shows(other.text) for other in now) else now
    return found


def main() -> None:
    """Write the list anew and say what no provocation shows any more; entries that came in meanwhile stay."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    parser = argparse.ArgumentParser()
    parser.add_argument("record", type=Path, nargs="?")
    parser.add_argument("--keep", action="store_true")
    arguments = parser.parse_args()
    seen = from_record(arguments.record.resolve()) if arguments.record else []
    before = listed()
    entries = renewed_by_tests(list(before), seen)
    if not arguments.keep:
        entries = [renewed(entry) if entry.words or entry.by else entry for entry in entries]
    for entry in entries:
        if not entry.text.startswith("error: "):
            print(f"shows no error: {' '.join(entry.words) or entry.by}", file=sys.stderr)
    entries = [e for e in entries if e.text.startswith("error: ")] + [e for e in listed() if e not in before]
    unique = {(entry.at, entry.text): entry for entry in reversed(entries)}
    LIST.write_text(written(completed(list(reversed(unique.values())), seen)))


if __name__ == "__main__":
    main()
