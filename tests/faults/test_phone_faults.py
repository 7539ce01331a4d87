"""What befalls a phone and its host while a job runs: the job completes with the right figures, or says why not."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from adb_shell.auth.sign_pythonrsa import PythonRSASigner

from device_profiler import adb_direct, links
from device_profiler.device import connect_device, hold
from device_profiler.emulator.registry import EmulatedPhone
from device_profiler.errors import DeviceError
from device_profiler.files import cache_folder
from device_profiler.leases import LeasedTransport
from device_profiler.outcomes import attempt, outcome_of
from device_profiler.runner import detached
from device_profiler.runner.client import DEVICE_FOLDER, Runner, install
from device_profiler.runner.results import CallResult
from device_profiler.transport import ConnectionLostError, DeviceTimeoutError, connect
from tests.device_profiler.deployed import EXECUTORCH
from tests.faults.fault_proxy import Fault, FaultProxy

ROOT = Path(__file__).parents[2]
ALLOCATOR_NS = 30
"""What the allocator's state may shift a sample of the virtual clock by."""
pytestmark = pytest.mark.slow  # minutes on two cores, and every one a race against a real phone
LONG = 200
"""Iterations of a run that is still going when something happens to it."""


@dataclass(frozen=True)
class Job:
    """The same job for every test, and its figures on a phone that is left alone."""

    deployments: Path
    reference: tuple[CallResult, ...]

    def run(self, runner: Runner, iterations: int = 2, *, progress: Callable[[int, int], None] = lambda *_: None
            ) -> list[CallResult]:
        return runner.run(EXECUTORCH.path(self.deployments), EXECUTORCH.calls(self.deployments), warmup=0,
                          iterations=iterations, timeout_s=300.0, progress=progress)

    def check(self, results: list[CallResult]) -> None:
        """The figures and outputs are those of a phone that is left alone."""
        for found, expected in zip(results, self.reference, strict=True):
            assert found.entry == expected.entry
            assert abs(found.samples_ns[-1] - expected.samples_ns[-1]) <= ALLOCATOR_NS
            for one, other in zip(found.outputs, expected.outputs, strict=True):
                assert one.tobytes() == other.tobytes()


@pytest.fixture(scope="module")
def job(phone: EmulatedPhone, deployments: Path) -> Job:
    with connect(phone.address) as transport:
        runner = install(transport, "executorch")
        return Job(deployments, tuple(Job(deployments, ()).run(runner)))


@pytest.fixture
def runner(phone: EmulatedPhone, job: Job) -> Iterator[Runner]:
    with connect(phone.address) as transport:
        yield install(transport, "executorch")


def left_on(phone: EmulatedPhone) -> list[str]:
    with connect(phone.address) as transport:
        return transport.shell(f"ls {DEVICE_FOLDER}/runs").output.split()


def once_running(phone: EmulatedPhone, act: str) -> Callable[[int, int], None]:
    """A job's `progress` that does `act` in the phone's shell, past the job's connection, when the run goes on it."""
    acted: list[str] = []

    def progress(done: int, total: int) -> None:
        if acted:
            return
        acted.append(act)
        with contextlib.suppress(DeviceError), connect(phone.address) as other:
            other.shell(act, timeout_s=5.0)

    return progress


@pytest.mark.parametrize("fault", [
    pytest.param(Fault("cut", "from phone", 4_000), id="cut"),
    pytest.param(Fault("corrupt", "to phone", 30_000), id="corrupt"),
    pytest.param(Fault("truncate", "from phone", 6_500), id="truncate"),
])
def test_a_run_completes_after_reconnecting(phone: EmulatedPhone, job: Job, fault: Fault,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detached, "_LONGEST_COMMAND_S", 10.0)
    monkeypatch.setattr(links, "STALL_S", 5.0)
    with FaultProxy(phone.address, fault) as proxy, connect(proxy.address) as transport:
        with connect(phone.address) as direct:
            program = install(direct, "executorch").program
        runner = Runner(transport, program, DEVICE_FOLDER)
        job.check(job.run(runner))
        assert proxy.struck
    assert left_on(phone) == []


def test_adbd_killed_during_a_run_loses_nothing(phone: EmulatedPhone, job: Job, runner: Runner) -> None:
    results = job.run(runner, LONG, progress=once_running(phone, "kill -9 $(pidof adbd)"))
    assert [len(result.samples_ns) for result in results] == [LONG] * len(job.reference)
    log = (Path(phone.folder) / "phone.log").read_text()
    assert "adbd ended with status" in log
    assert left_on(phone) == []


def test_a_reboot_during_a_run_is_the_phones_fault_and_the_next_try_is_right(
    phone: EmulatedPhone, job: Job, runner: Runner
) -> None:
    reboot = once_running(phone, "reboot; sleep 30")
    tries: list[int] = []

    def measure() -> list[CallResult]:
        tries.append(LONG if not tries else 2)
        return job.run(runner, tries[-1], progress=reboot)

    ended = attempt(measure)
    assert ended.outcome == "done" and ended.attempts == 2 and ended.result is not None
    job.check(ended.result)


def test_a_phone_that_wants_a_key_is_used_with_it_ever_after(
    phone: EmulatedPhone, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with FaultProxy(phone.address, asks_for_key=True) as proxy:
        with connect(proxy.address) as transport:
            assert transport.shell("uname -m").output == "aarch64\n"
        assert len(proxy.offered) == 1, "the key was offered"
        key = cache_folder("keys") / "adbkey"
        signer = PythonRSASigner(key.with_suffix(".pub").read_text(), key.read_text())
        proxy.signatures.add(bytes(signer.Sign(bytes(range(20)))))
        with connect(proxy.address) as transport:
            assert transport.shell("exit 4").exit_code == 4
            proxy.cut()
            with pytest.raises(ConnectionLostError):
                transport.shell("true")
            assert transport.shell("exit 5").exit_code == 5, "it reconnects with the key"
        assert len(proxy.offered) == 1, "the phone knows the key: nobody is asked again"


def test_a_phone_that_refuses_the_key_says_what_to_do(phone: EmulatedPhone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adb_direct, "AUTHORISATION_TIMEOUT_S", 1.0)
    with FaultProxy(phone.address, asks_for_key=True, accepts=False) as proxy, pytest.raises(
        DeviceError, match="does not trust this machine yet: unlock the phone"
    ):
        connect(proxy.address)


@pytest.mark.parametrize("jump_s", [
    pytest.param(-86_400.0, id="back"), pytest.param(86_400.0, id="on"),
])
def test_a_jump_of_the_hosts_clock_neither_hangs_nor_lies(
    phone: EmulatedPhone, job: Job, runner: Runner, jump_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A day, in the middle of a run. adb-shell counts its timeouts on that clock; the deadline is on the steady one."""
    real, calls = time.time, [0]

    def jumping() -> float:
        calls[0] += 1
        return real() + (jump_s if calls[0] > 20 else 0.0)

    monkeypatch.setattr(time, "time", jumping)
    job.check(job.run(runner))
    assert calls[0] > 20
    with pytest.raises(DeviceTimeoutError):
        runner.transport.shell("sleep 30", timeout_s=1.0)


def test_a_wrong_date_on_the_phone_changes_no_figure(phone: EmulatedPhone, job: Job, runner: Runner) -> None:
    """The phone thinks that everything on it is from days ago: nothing of a run that goes is swept away."""
    age = once_running(phone, f"touch -d 2001-01-01T00:00:00 {DEVICE_FOLDER}/runs/* {DEVICE_FOLDER}/runs/*/*")
    results = job.run(runner, LONG, progress=age)
    assert [len(result.samples_ns) for result in results] == [LONG] * len(job.reference)


HOST = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from device_profiler.device import connect_device, hold
from device_profiler.runner.client import install
from tests.device_profiler.deployed import EXECUTORCH
deployments = Path(sys.argv[2])
with hold(connect_device(sys.argv[1])) as device:
    runner = install(device.transport, "executorch")
    runner.run(EXECUTORCH.path(deployments), EXECUTORCH.calls(deployments), warmup=0, iterations=int(sys.argv[4]),
               timeout_s=300.0, progress=lambda done, total: print(done, flush=True))
"""


def start_host(phone: EmulatedPhone, job: Job, iterations: int) -> subprocess.Popen[str]:
    """Another process that runs the job; it gives back when the run goes."""
    words = [sys.executable, "-c", HOST, phone.address, str(job.deployments), str(ROOT), str(iterations)]
    host = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert host.stdout is not None
    assert host.stdout.readline().strip().isdigit()
    return host


def test_the_next_call_collects_what_a_killed_host_began(phone: EmulatedPhone, job: Job) -> None:
    host = start_host(phone, job, LONG)
    host.kill()
    host.wait()
    [run] = left_on(phone)
    with hold(connect_device(phone.address)) as device:
        started = device.transport.shell(f"cat {DEVICE_FOLDER}/runs/{run}/pid").output
        seen: list[str] = []

        def watch(done: int, total: int) -> None:
            if not seen:
                with connect(phone.address) as other:
                    seen.append(other.shell(f"cat {DEVICE_FOLDER}/runs/{run}/pid").output)

        results = job.run(install(device.transport, "executorch"), LONG, progress=watch)
    assert [len(result.samples_ns) for result in results] == [LONG] * len(job.reference)
    assert seen == [started], "the same process: nothing was run again"
    assert left_on(phone) == []


def test_what_a_killed_host_left_going_does_not_disturb_another_job(phone: EmulatedPhone, job: Job) -> None:
    host = start_host(phone, job, 100_000)
    host.kill()
    host.wait()
    [run] = left_on(phone)
    with hold(connect_device(phone.address)) as device:
        assert isinstance(device.transport, LeasedTransport)
        job.check(job.run(install(device.transport, "executorch")))
        alive = f"kill -0 $(cat {DEVICE_FOLDER}/runs/{run}/pid) 2>/dev/null"
        assert device.transport.shell(alive).exit_code != 0, "the orphan was ended"
        device.transport.shell(f"rm -rf {DEVICE_FOLDER}/runs/{run}")


def test_a_full_disk_during_a_run_is_an_infrastructure_fault(phone: EmulatedPhone, job: Job) -> None:
    small = "/data/local/tmp/small"
    with connect(phone.address) as transport:
        runner = install(transport, "executorch")
        transport.shell(f"mkdir -p {small} && busybox mount -t tmpfs -o size=64k none {small}")
        try:
            with pytest.raises(DeviceError, match="No space left") as caught:
                job.run(Runner(transport, runner.program, small))
            assert outcome_of(caught.value) == "infrastructure fault"
        finally:
            transport.shell(f"busybox umount {small}")
