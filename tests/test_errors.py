"""Every error of the command line: listed with its exact text in golden/errors.toml, and shown as listed."""

import logging
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from device_profiler.errors import PipelineError
from device_profiler.files import cache_folder
from pipeline import __main__ as command_line
from tests.error_catalogue import ROOT, Listed, listed, plain, stale
from tests.provocations import folders

ENTRIES = listed()
TYPED = [entry for entry in ENTRIES if entry.words]
CALLED = [entry for entry in ENTRIES if entry.by]


def test_every_listed_error_is_in_the_code() -> None:
    assert [f"{entry.at}: {entry.text}" for entry in stale()] == []


def test_every_entry_says_what_provokes_it_and_is_one_line() -> None:
    for entry in ENTRIES:
        assert sum(map(bool, (entry.words, entry.by, entry.test))) == 1, entry
        assert entry.text.startswith("error: ") and "\n" not in entry.text, entry
        assert not entry.test or (ROOT / entry.test.split("::")[0]).is_file(), entry


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to stand in, an empty cache, no phone of the user's; what a command silences is given back."""
    home = tmp_path / "here"
    home.mkdir()
    compiled = cache_folder("numba")
    (tmp_path / "cache" / compiled.parent.name).mkdir(parents=True)
    (tmp_path / "cache" / compiled.parent.name / "numba").symlink_to(compiled)
    monkeypatch.chdir(home)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    silenced = logging.root.manager.disable
    yield home
    logging.disable(silenced)


@pytest.mark.parametrize("entry", TYPED, ids=lambda entry: " ".join(entry.words))
def test_a_command_line_shows_its_error(
    entry: Listed, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if entry.folder:
        getattr(folders, entry.folder)(place)
    monkeypatch.setattr("sys.argv", ["pipeline", *entry.words])
    code = command_line.main()
    shown = capsys.readouterr()
    lines = shown.err.strip().splitlines()
    assert (code, shown.out) == (entry.exit, "")
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:], shown.err
    assert entry.shows(plain(lines[-1], place)), f"{plain(lines[-1], place)}\nis not\n{entry.text}"


@pytest.mark.parametrize("entry", CALLED, ids=lambda entry: entry.by)
def test_a_call_raises_its_error(entry: Listed, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, name = entry.by.split(":")
    with pytest.raises(PipelineError) as caught:
        getattr(import_module(f"tests.provocations.{module}"), name)(place, monkeypatch)
    message = f"error: {plain(str(caught.value), place)}"
    assert caught.value.exit_code == entry.exit
    assert entry.shows(message), f"{message}\nis not\n{entry.text}"
