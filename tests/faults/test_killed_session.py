"""A host killed in the middle of a session of several launches: the same session again goes on where it was."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from device_profiler import debian, phone_settings
from device_profiler.device import Device, connect_device, hold
from device_profiler.emulator.phone import start_phone, stop_phone
from device_profiler.emulator.phone_profile import load_profile
from device_profiler.emulator.registry import EmulatedPhone
from device_profiler.emulator.weather import make_weather
from device_profiler.measurement import Measurement
from device_profiler.protocol import measure_calls
from device_profiler.runner.client import DEVICE_FOLDER
from device_profiler.runner.job import Settle
from device_profiler.sampling import BlockEffort, valid_launches
from device_profiler.targets import find_target
from device_profiler.transport import ShellResult, Transport, connect
from device_profiler.workload import Operator, Workload
from tests.device_profiler.deployed import EXECUTORCH

pytestmark = pytest.mark.slow  # four sessions on an emulated phone: minutes
ROOT = Path(__file__).parents[2]
RUNS = f"{DEVICE_FOLDER}/runs"
EFFORT = BlockEffort(launches=4, most_launches=10, iterations=4, settle=Settle(4, 0.1, most=16))
OPERATORS = (Operator("CONV_2D", 2_000_000, 4_000, 30_000, 20_000, True),)
BEFORE_THE_KILL = 2
"""Launches that are done when the host is killed in the next one."""
BEGIN = "setsid sh -c"
"""In the command that begins a launch, and in no other."""
HOST = """
import sys
from pathlib import Path
from device_profiler.device import connect_device, hold
from tests.faults.test_killed_session import session
with hold(connect_device(sys.argv[1])) as device:
    session(device, Path(sys.argv[2]))
"""


def session(device: Device, deployments: Path) -> list[Measurement]:
    """Three models, interleaved in blocks, over several launches."""
    works = [Workload(call.entry, call, OPERATORS) for call in EXECUTORCH.calls(deployments)]
    file, target = EXECUTORCH.path(deployments), find_target("pixel7-cpu")
    return [one.measurement for one in measure_calls(device, target, file, works, effort=EFFORT)]


@dataclass
class Counting:
    """A transport that counts the launches which go through it."""

    inner: Transport
    begun: list[str] = field(default_factory=list)

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def shell(self, command: str, *, timeout_s: float = 30.0) -> ShellResult:
        if BEGIN in command:
            self.begun.append(command)
        return self.inner.shell(command, timeout_s=timeout_s)


@pytest.fixture(scope="module")
def unsteady() -> Iterator[EmulatedPhone]:
    """A phone on whose clock one launch is not enough: its runs differ."""
    if not debian.available():
        pytest.skip("emulated phones are built from Debian packages, which can't be fetched here")
    made = make_weather(load_profile("pixel7"), seed=3)
    assert made is not None and made.noise is not None
    calm = msgspec.structs.replace(made, noise=msgspec.structs.replace(made.noise, drift=0.0))
    phone = start_phone("pixel7", keep=False, weather=calm)
    yield phone
    stop_phone(phone.address)


def ask(phone: EmulatedPhone, command: str) -> list[str]:
    with connect(phone.address) as other:
        return other.shell(command).output.split("\n")[:-1]


def finished(phone: EmulatedPhone) -> int:
    return len(ask(phone, f"ls {RUNS}/*/exit 2>/dev/null"))


def going(phone: EmulatedPhone) -> int:
    return len(ask(phone, f'for d in {RUNS}/*; do [ -s "$d/pid" ] && [ ! -e $d/exit ] && echo $d; done; true'))


def killed_in_a_launch(phone: EmulatedPhone, deployments: Path) -> None:
    """A host begins the session and is killed while a launch is going, with earlier ones done."""
    words = [sys.executable, "-c", HOST, phone.address, str(deployments)]
    with subprocess.Popen(words, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}) as host:
        try:
            while finished(phone) < BEFORE_THE_KILL or not going(phone):
                assert host.poll() is None, "it was to be killed in the middle"
        finally:
            host.kill()


def samples_on(phone: EmulatedPhone) -> set[tuple[int, ...]]:
    """The samples of every visit to a model that the phone holds results of."""
    lines = [json.loads(line) for line in ask(phone, f"cat {RUNS}/*/results") if '"warmup_ns"' in line]
    return {tuple(line["samples_ns"]) for line in lines}


def check_form(measured: list[Measurement]) -> None:
    """Every launch is there, once, with each model; none counts twice."""
    entries = [one.entry for one in measured]
    assert entries == ["stage_0", "stage_1", "finish_0"]
    for one in measured:
        launches = [block.launch for block in one.blocks]
        assert launches == list(range(len(launches))), "each launch once"
        valid = valid_launches(one.blocks)
        assert len(valid) >= EFFORT.launches
        assert one.samples_ns == tuple(sample for samples in valid.values() for sample in samples)
        assert len(one.samples_ns) == len(valid) * 2 * EFFORT.iterations
        assert len({block.samples_ns for block in one.blocks}) == len(launches), "no launch stands for another"
        assert one.low_ns <= one.median_ns <= one.high_ns


def measured_again(phone: EmulatedPhone, deployments: Path) -> tuple[list[Measurement], int]:
    """The session, and how many launches it began."""
    with hold(connect_device(phone.address)) as device:
        device.transport = counting = Counting(device.transport)  # type: ignore[assignment]
        return session(device, deployments), len(counting.begun)


@pytest.mark.parametrize("meanwhile", ["done", "going"])
def test_a_session_goes_on_where_its_host_was_killed(
    unsteady: EmulatedPhone, deployments: Path, meanwhile: str
) -> None:
    killed_in_a_launch(unsteady, deployments)
    if meanwhile == "done":
        while going(unsteady):
            time.sleep(0.2)
    there = finished(unsteady) + going(unsteady)
    samples = samples_on(unsteady)
    assert there > BEFORE_THE_KILL
    measured, begun = measured_again(unsteady, deployments)
    check_form(measured)
    assert begun == len(measured[0].blocks) - there, "what the phone has is not measured again"
    visits = {pair for one in measured for block in one.blocks for pair in halves(block.samples_ns)}
    golden = {side for block in measured[0].blocks for side in (block.golden_first_ns, block.golden_last_ns)}
    assert samples and samples <= visits | golden, "all of it counts"
    assert ask(unsteady, f"ls {RUNS}") == [] and ask(unsteady, f"ls {phone_settings.JOURNAL} 2>/dev/null") == []
    anew, begun = measured_again(unsteady, deployments)
    check_form(anew)
    assert begun == len(anew[0].blocks), "a session that ended leaves nothing to the next one"


def halves(samples: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The two visits of a block."""
    return samples[: len(samples) // 2], samples[len(samples) // 2 :]
