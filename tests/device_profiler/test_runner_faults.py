"""A cable that is pulled, a phone that vanishes, results that are cut: nothing is lost, or an error says what."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from deployed import EXECUTORCH
from local_transport import LocalTransport

from device_profiler.errors import DeviceError
from device_profiler.runner import detached
from device_profiler.runner.client import Runner, install
from device_profiler.runner.results import call_results, error_of, is_done
from device_profiler.transport import ConnectionLostError, ShellResult


@dataclass
class FlakyTransport(LocalTransport):
    """Loses the connection wherever `loses` says so, before or after the command took effect."""

    loses: Callable[[str, int], bool] = lambda command, count: False
    after: bool = False
    commands: list[str] = field(default_factory=list)

    def shell(self, command: str, *, timeout_s: float = 30.0) -> ShellResult:
        self.commands.append(command)
        lost = self.loses(command, len(self.commands))
        if lost and not self.after:
            raise ConnectionLostError("the cable was pulled")
        result = super().shell(command, timeout_s=timeout_s)
        if lost:
            raise ConnectionLostError("the cable was pulled")
        return result


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detached, "RECONNECT_S", 1.0)
    monkeypatch.setattr(detached, "_LONGEST_PAUSE_S", 0.05)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("device"))


def flaky(root: str, loses: Callable[[str, int], bool], *, after: bool = False) -> Runner:
    installed = install(LocalTransport(), "executorch", machine="host", root=root)
    return Runner(FlakyTransport(loses=loses, after=after), installed.program, root)


def run(runner: Runner, deployments: Path) -> list[str]:
    results = runner.run(
        EXECUTORCH.path(deployments), EXECUTORCH.calls(deployments), warmup=0, iterations=1, timeout_s=60
    )
    return [result.entry for result in results]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("period", [2, 3])
def test_a_cable_pulled_again_and_again_loses_nothing(period: int, after: bool, deployments: Path, root: str) -> None:
    runner = flaky(root, lambda command, count: count % period == 0 and "rm -rf" not in command, after=after)
    assert run(runner, deployments) == ["stage_0", "stage_1", "finish_0"]


def test_a_start_whose_answer_is_lost_does_not_run_twice(deployments: Path, root: str) -> None:
    seen: list[str] = []

    def lost_once(command: str, count: int) -> bool:
        if "setsid" not in command:
            return False
        seen.append(command)
        return len(seen) == 1

    runner = flaky(root, lost_once, after=True)
    assert len(run(runner, deployments)) == 3
    assert len(seen) == 2


def test_a_phone_that_stays_away_is_an_error(deployments: Path, root: str) -> None:
    runner = flaky(root, lambda command, count: "results" in command)
    with pytest.raises(DeviceError, match="stayed away"):
        run(runner, deployments)


def test_a_run_that_vanishes_is_an_error(deployments: Path, root: str) -> None:
    """A reboot ends the process without an exit code."""

    def kill_then_poll(command: str, count: int) -> bool:
        if "results" in command:
            folder = command.split()[1]
            group = Path(folder, "pid").read_text().strip()
            subprocess.run(["kill", "-9", "--", f"-{group}"], check=False, capture_output=True)
        return False

    runner = flaky(root, kill_then_poll)
    with pytest.raises(DeviceError, match=r"vanished|was killed"):
        runner.run(
            EXECUTORCH.path(deployments), EXECUTORCH.calls(deployments), warmup=0, iterations=10**7, timeout_s=60
        )


def test_a_runner_killed_by_the_phone_is_the_phones_fault(deployments: Path, root: str) -> None:
    def kill_runner(command: str, count: int) -> bool:
        if "results" in command:
            folder = command.split()[1]
            parent = Path(folder, "pid").read_text().strip()
            subprocess.run(["pkill", "-9", "-P", parent], check=False)
        return False

    runner = flaky(root, kill_runner)
    with pytest.raises(DeviceError, match="was killed"):
        runner.run(
            EXECUTORCH.path(deployments), EXECUTORCH.calls(deployments), warmup=0, iterations=10**7, timeout_s=60
        )


def test_cut_results_are_an_error(tmp_path: Path) -> None:
    line = (
        '{"call":0,"entry":"a","load_ns":1,"first_ns":1,"samples_ns":[1],"peak_rss_kb":1,'
        '"outputs":[{"offset":0,"dtype":"float32","shape":[2]}]}'
    )
    outputs = tmp_path / "outputs"
    outputs.write_bytes(b"\0" * 8)
    assert call_results([line], outputs)[0].outputs[0].shape == (2,)
    outputs.write_bytes(b"\0" * 7)
    with pytest.raises(DeviceError, match="cut short"):
        call_results([line], outputs)
    with pytest.raises(DeviceError, match="can't be read"):
        call_results([line[:40]], outputs)
    assert not is_done([line]) and is_done([line, '{"done":true}'])
    assert error_of([line, '{"error":"no room"}']) == "no room" and error_of([line]) is None
