"""Every error of the command line: listed with its exact text in golden/errors.toml, and shown as listed."""

from pathlib import Path

import pytest

from tests.error_catalogue import ROOT, Listed, listed, stale, unlisted
from tests.error_showing import show

ENTRIES = listed()
TYPED = [entry for entry in ENTRIES if entry.words]
CALLED = [entry for entry in ENTRIES if entry.by]


def test_every_error_in_the_code_is_listed() -> None:
    missing = [str(site) for site in unlisted()]
    assert not missing, "run: python -m tests.error_showing (see there)\n" + "\n".join(missing)


def test_every_error_is_shown() -> None:
    unshown = [f"{entry.at}: {entry.text}" for entry in ENTRIES if entry.unshown]
    assert not unshown, "show it by a command, a call or a test (see error_catalogue.py)\n" + "\n".join(unshown)


def test_every_listed_error_is_in_the_code() -> None:
    assert [f"{entry.at}: {entry.text}" for entry in stale()] == []


def test_every_entry_says_what_provokes_it_and_is_one_line() -> None:
    for entry in ENTRIES:
        assert sum(map(bool, (entry.words, entry.by, entry.test, entry.unshown))) == 1, entry
        assert entry.text.startswith("error: ") and "\n" not in entry.text, entry
        assert not entry.test or (ROOT / entry.test.split("::")[0]).is_file(), entry


@pytest.mark.parametrize("entry", TYPED, ids=lambda entry: " ".join(entry.words))
def test_a_command_line_shows_its_error(entry: Listed, tmp_path: Path) -> None:
    shown = show(entry, tmp_path)
    lines = shown.stderr.strip().splitlines()
    assert (shown.exit, shown.stdout) == (entry.exit, ""), shown.stderr
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:], shown.stderr
    assert entry.shows(shown.text), f"{shown.text}\nis not\n{entry.text}"


@pytest.mark.parametrize("entry", CALLED, ids=lambda entry: entry.by)
def test_a_call_raises_its_error(entry: Listed, tmp_path: Path) -> None:
    shown = show(entry, tmp_path)
    assert shown.exit == entry.exit
    assert entry.shows(shown.text), f"{shown.text}\nis not\n{entry.text}"
