"""A cable that fails at any byte: no hang, no wrong answer, no half file under its name, and the next try works.

The cable is the one to the phone's adbd; what is at its other end is this program (adb-shell), or an adb server.
"""

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from device_profiler.emulator.registry import EmulatedPhone
from device_profiler.errors import DeviceError
from device_profiler.files import sha256_bytes
from device_profiler.transport import ConnectionLostError, DeviceTimeoutError, Transport, connect
from tests.faults.cable_ways import Way, ways
from tests.faults.fault_proxy import KINDS, SIDES, Fault, FaultProxy

CALL_S, CLEAN_S, HANG_S = 6.0, 120.0, 400.0
RANDOM_BYTES = 200
WORKERS, RECONNECTIONS = 4, 6
Result = TypeVar("Result")
OLD, NEW = b"old\n" * 10, random.Random(1).randbytes(150_001)
OUTPUT = "".join(f"line {number}\n" for number in range(500))
FOLDER = "/data/local/tmp/cable"


@dataclass(frozen=True)
class Case:
    """One call under one fault on one way to the phone; files of its own on both sides."""

    way: Way
    fault: Fault
    number: int
    folder: Path

    @property
    def remote(self) -> str:
        return f"{FOLDER}/{self.number}"

    @property
    def local(self) -> Path:
        return self.folder / f"{self.number}"


def shell(transport: Transport, case: Case, timeout_s: float) -> None:
    command = "seq 0 499 | while read n; do echo line $n; done; exit 3"  # ends, whichever of its bytes is another one
    result = transport.shell(command, timeout_s=timeout_s)
    assert (result.exit_code, result.output) == (3, OUTPUT), "an answer is right or there is none"


def push(transport: Transport, case: Case, timeout_s: float) -> None:
    transport.push(case.folder / "new", case.remote, timeout_s=timeout_s)


def pull(transport: Transport, case: Case, timeout_s: float) -> None:
    transport.pull(f"{FOLDER}/new", case.local, timeout_s=timeout_s)


Call = Callable[[Transport, Case, float], None]
CALLS: dict[str, Call] = {"shell": shell, "push": push, "pull": pull}


def patiently(attempt: Callable[[], Result]) -> Result:
    """`attempt`, repeated while the connection is lost: a message that is garbage can end adbd, for everybody."""
    for _ in range(RECONNECTIONS):
        try:
            return attempt()
        except (ConnectionLostError, DeviceTimeoutError):
            time.sleep(0.5)
    return attempt()


def ask(phone: EmulatedPhone, command: str) -> str:
    """What the phone says past the proxy."""

    def once() -> str:
        with connect(phone.address, timeout_s=CLEAN_S) as direct:
            return direct.shell(command, timeout_s=CLEAN_S).output

    return patiently(once)


def check(case: Case, call: Call, phone: EmulatedPhone, *, done: bool) -> None:
    """What is there after a call: all of the new, or what was there before."""
    if call is push:
        found = ask(phone, f"sha256sum < {case.remote}").split()[0]
        assert found == sha256_bytes(NEW) or (not done and found == sha256_bytes(OLD)), "half a file has its name"
    if call is pull:
        assert case.local.read_bytes() == NEW if done else not case.local.exists() or case.local.read_bytes() == NEW


def endure(phone: EmulatedPhone, case: Case, call: Call) -> bool:
    """The call under the fault, then again without; whether the fault was met."""
    with FaultProxy(phone.address, case.fault) as proxy, case.way.leaving(proxy.address):
        if call is push:
            ask(phone, f"for i in 1 2 3 4 5 6 7 8 9 10; do echo old; done > {case.remote}")

        def attempt(timeout_s: float) -> None:
            with case.way.connect(proxy.address, timeout_s) as transport:
                call(transport, case, timeout_s)

        done = False
        try:
            attempt(CALL_S)
            done = True
        except DeviceError as error:
            assert proxy.address in str(error)
        check(case, call, phone, done=done)
        struck, proxy.fault = proxy.struck, None
        patiently(lambda: attempt(CLEAN_S))
        check(case, call, phone, done=True)
        if call is push:
            left = ask(phone, f"ls {case.remote}*; rm -f {case.remote}").split()
            assert left == [case.remote], "a broken push leaves nothing once it was made again"
        return struck


@pytest.fixture(scope="module")
def prepared(phone: EmulatedPhone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cable")
    (folder / "new").write_bytes(NEW)
    with connect(phone.address) as direct:
        direct.push(folder / "new", f"{FOLDER}/new")
    yield folder
    log = (Path(phone.folder) / "phone.log").read_text()
    print(f"adbd ended {log.count('adbd ended')} times")


@pytest.fixture(scope="module", params=["adb-shell", "adb server"])
def way(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    with ways(request.param, tmp_path_factory.mktemp("home")) as one:
        yield one


def record(phone: EmulatedPhone, way: Way, call: Call, folder: Path) -> FaultProxy:
    """A call without a fault: where its messages begin, and how many bytes pass."""
    with FaultProxy(phone.address) as proxy, way.leaving(proxy.address):
        with way.connect(proxy.address, CLEAN_S) as transport:
            call(transport, Case(way, Fault("cut", "to phone", 0), 0, folder), CLEAN_S)
        return proxy


def all_faults(proxy: FaultProxy) -> Iterator[Fault]:
    """Every kind at every boundary of a message, and 200 seeded bytes."""
    for side in SIDES:
        for start in proxy.starts[side]:
            yield from (Fault(kind, side, start) for kind in KINDS)
    dice = random.Random(200)
    for _ in range(RANDOM_BYTES):
        side = dice.choice(SIDES)
        yield Fault(dice.choice(KINDS), side, dice.randrange(proxy.passed[side]))


def endure_all(phone: EmulatedPhone, way: Way, call: Call, faults: list[Fault], folder: Path) -> int:
    """How many faults were met. Every call must come back, and whatever came of it hold `check`."""
    with ThreadPoolExecutor(WORKERS) as pool:
        running = [(fault, pool.submit(endure, phone, Case(way, fault, number + 1, folder), call))
                   for number, fault in enumerate(faults)]
        failures, struck = [], 0
        for fault, future in running:
            try:
                struck += future.result(timeout=HANG_S)
            except (AssertionError, DeviceError, TimeoutError) as error:
                failures.append(f"{fault}: {type(error).__name__}: {error}")
    assert not failures, "\n".join(failures)
    return struck


@pytest.mark.parametrize("name", CALLS)
def test_a_sample_of_faults(phone: EmulatedPhone, prepared: Path, way: Way, name: str) -> None:
    faults = list(all_faults(record(phone, way, CALLS[name], prepared)))
    dice = random.Random(name)
    sample = [dice.choice([fault for fault in faults if fault.kind == kind]) for kind in KINDS]
    assert endure_all(phone, way, CALLS[name], sample, prepared) >= 3


@pytest.mark.parametrize("fault", [
    pytest.param(Fault("truncate", "to phone", 11), id="the phone waits for the rest"),
    pytest.param(Fault("truncate", "from phone", 11), id="the server waits for the rest"),
    pytest.param(Fault("corrupt", "from phone", 24), id="the phone calls itself something else"),
])
def test_a_connection_whose_beginning_was_harmed_is_made_anew(
    phone: EmulatedPhone, prepared: Path, way: Way, fault: Fault
) -> None:
    """An adb server keeps it for good otherwise, and answers that it is connected."""
    assert endure_all(phone, way, shell, [fault], prepared) == 1


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", CALLS)
def test_faults_at_every_message_and_at_200_bytes(phone: EmulatedPhone, prepared: Path, way: Way, name: str) -> None:
    faults = list(all_faults(record(phone, way, CALLS[name], prepared)))
    assert len(faults) > RANDOM_BYTES
    struck = endure_all(phone, way, CALLS[name], faults, prepared)
    assert struck >= 0.8 * len(faults), "the offsets are those of a call that was recorded"
    print(f"{way.name}, {name}: {len(faults)} faults, {struck} met")
