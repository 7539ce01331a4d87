"""A worker process: answers, refusals, and endings of every kind become one clear error of the caller's."""

import os
import time
from collections.abc import Iterator

import pytest
from failing_workers import open_worker

from device_profiler.errors import InputError, VerificationError
from mobile_export.worker import PATIENCE, SHOW_OUTPUT, WorkerProcess


@pytest.fixture
def worker() -> Iterator[WorkerProcess]:
    with WorkerProcess(open_worker, 10) as process:
        yield process


def test_answers_in_order(worker: WorkerProcess) -> None:
    assert [worker.request(number, "adding", 30) for number in (1, 2)] == [11, 12]


def test_what_the_worker_prints_stays_out_of_stdout(
    worker: WorkerProcess, capfd: pytest.CaptureFixture[str]
) -> None:
    assert worker.request("print", "printing", 30) == "printed"
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("shown", [False, True])
def test_what_the_worker_prints_is_shown_on_request_only(
    shown: bool, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if shown:
        monkeypatch.setenv(SHOW_OUTPUT, "1")
    with WorkerProcess(open_worker, 10) as process:
        process.request("print", "printing", 30)
    assert bool(capfd.readouterr().err) is shown


def test_verbose_asks_for_the_workers_output(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.cli.network import quiet_vendors

    monkeypatch.setenv(SHOW_OUTPUT, "")
    quiet_vendors(verbose=True)
    assert os.environ[SHOW_OUTPUT] == "1"


def test_a_crash_names_the_work_the_signal_and_the_last_words(worker: WorkerProcess) -> None:
    with pytest.raises(VerificationError, match=r"entry 'stage_0' ended its process \(signal SIGABRT; .*last words"):
        worker.request("crash", "entry 'stage_0'", 30)


def test_after_a_crash_the_session_is_over_without_a_hang(worker: WorkerProcess) -> None:
    with pytest.raises(VerificationError):
        worker.request("crash", "entry 'stage_0'", 30)
    with pytest.raises(VerificationError, match="ended its process"):
        worker.request(1, "the next entry", 30)


def test_a_hang_is_stopped(worker: WorkerProcess) -> None:
    worker.request(1, "warming up", 30)
    start = time.monotonic()
    with pytest.raises(VerificationError, match="gave no answer within 1 s"):
        worker.request("hang", "entry 'stage_0'", 1)
    assert time.monotonic() - start < 30


def test_patience_makes_limits_longer(worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    worker.request(1, "warming up", 30)
    monkeypatch.setenv(PATIENCE, "2.5")
    with pytest.raises(VerificationError, match=r"within 2 s and was stopped; .* MESS_DEPLOY_PATIENCE=4 in front"):
        worker.request("hang", "entry 'stage_0'", 0.8)


@pytest.mark.parametrize("told", ["soon", "0.5", "inf", "nan"])
def test_patience_is_a_number_from_one_on(
    worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch, told: str
) -> None:
    monkeypatch.setenv(PATIENCE, told)
    with pytest.raises(InputError, match=f"MESS_DEPLOY_PATIENCE='{told}' must be a number from 1 on"):
        worker.request(1, "adding", 30)


def test_failures_keep_their_kind_and_first_line(worker: WorkerProcess) -> None:
    with pytest.raises(VerificationError, match=r"^running: RuntimeError: method failed with error 0x10$"):
        worker.request("fail", "running", 30)
    with pytest.raises(InputError, match=r"^running: no such thing; give a number$"):
        worker.request("refuse", "running", 30)
    assert worker.request(1, "running", 30) == 11
