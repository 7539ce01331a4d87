"""A fleet's children: processes that fail, are killed, interrupted or orphaned, each without harm to the others."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from device_profiler.emulator.registry import EmulatedPhone, list_phones
from device_profiler.files import cache_folder
from device_profiler.targets import Target, find_target
from pipeline.fleet.children import LOG_NAME, Child, Ended, deploy_each
from pipeline.progress import SilentProgress
from pipeline.workspace import Workspace
from tests.deployments import DOWNLOADS, ROOT

TARGETS = [find_target(name) for name in ("pixel7-cpu", "galaxy-s23-cpu-int8")]
BAD = {"max-drop": "1"}
"""Options that no deployment takes: refused at once."""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, so a list of emulated phones too."""
    cache = tmp_path / "cache" / "mess-deploy"
    cache.mkdir(parents=True)
    for name in DOWNLOADS:
        (cache / name).symlink_to(cache_folder(name))
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parent))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return cache


class Fleet:
    """Children by target, and the loop that follows them."""

    def __init__(self, run: Path, options: Mapping[str, Mapping[str, object]]) -> None:
        self.run, self.options = run, options
        self.children: list[Child] = []

    def start(self, target: Target) -> Child:
        options = {"target": target.name, "preset": "smoke", **self.options.get(target.name, {})}
        self.children.append(Child(target, self.run / target.name, options, verbose=False))
        return self.children[-1]

    def deploy(self, targets: list[Target]) -> list[Ended]:
        workspace = Workspace(self.run, SilentProgress())
        return deploy_each(targets, self.start, workspace, at_once=2, phones_multiply=True)


def log_says(folder: Path, text: str = "") -> str:
    """Wait until a child has said something; all of it."""
    deadline = time.monotonic() + 120
    while True:
        told = (folder / LOG_NAME).read_text() if (folder / LOG_NAME).exists() else ""
        if told and text in told:
            return told
        assert time.monotonic() < deadline, told
        time.sleep(0.05)


def test_each_failure_is_told_with_its_error_and_exit_code(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, {TARGETS[0].name: BAD, TARGETS[1].name: {"setting": "anytime"}})
    ended = fleet.deploy(TARGETS)
    assert [(one.target.name, one.exit_code) for one in ended] == [("pixel7-cpu", 2), ("galaxy-s23-cpu-int8", 2)]
    assert ended[0].error.startswith("'1' is no drop") and "needs at least one --deadline" in ended[1].error


def test_a_child_that_is_killed_is_told_as_such(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, {})
    child = fleet.start(TARGETS[0])
    os.kill(child._process.pid, signal.SIGKILL)
    child._process.wait()
    ended = child.ended()
    assert ended is not None and ended.exit_code == 1
    assert f"was ended by SIGKILL without an error of ours; see {tmp_path / 'pixel7-cpu' / LOG_NAME}" in ended.error


def test_ctrl_c_ends_the_children_as_it_ends_a_command(tmp_path: Path, cache: Path) -> None:
    fleet, folder, phones = Fleet(tmp_path, {}), tmp_path / "pixel7-cpu", list[EmulatedPhone]()

    def press() -> None:
        log_says(folder, "emulated")
        phones.extend(list_phones())
        os.kill(os.getpid(), signal.SIGINT)

    presser = threading.Thread(target=press)
    presser.start()
    with pytest.raises(KeyboardInterrupt):
        fleet.deploy(TARGETS[:1])
    presser.join()
    [child] = fleet.children
    ended = child.ended()
    assert ended is not None and ended.exit_code == 130
    assert "interrupted: finished work is kept" in (folder / LOG_NAME).read_text()
    assert len(phones) == 1 and list_phones() == [], "its emulated phone ends with it"


def test_a_child_is_interrupted_when_the_fleets_process_dies(tmp_path: Path, cache: Path) -> None:
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom device_profiler.targets import find_target\n"
        "from pipeline.fleet.children import Child\n"
        "options = {'target': 'pixel7-cpu', 'preset': 'smoke'}\n"
        "Child(find_target('pixel7-cpu'), Path(sys.argv[1]), options, verbose=False)\ntime.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "run")], cwd=ROOT)
    try:
        log_says(tmp_path / "run", "emulated")
    finally:
        parent.kill()
        parent.wait()
    log_says(tmp_path / "run", "interrupted: finished work is kept")


def test_a_child_without_its_parent_does_nothing() -> None:
    words = [sys.executable, "-m", "pipeline.fleet", "1", "targets"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "") and "the fleet's own process is gone" in done.stderr
