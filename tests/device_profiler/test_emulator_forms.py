"""The fallback forms are the same phone: real adbd, exit codes, files, programs, a virtual clock."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import pytest

from device_profiler import debian, toolchain
from device_profiler.device import identify
from device_profiler.emulator.phone import start_phone, stop_phone
from device_profiler.emulator.registry import EmulatedPhone, list_phones
from device_profiler.errors import DeviceError
from device_profiler.measurement import DeviceIdentity
from device_profiler.transport import ConnectionLostError, Transport, connect

pytestmark = pytest.mark.skipif(not debian.available(), reason="Debian packages can't be fetched here")
Answer = TypeVar("Answer")


@pytest.fixture(scope="module", params=["proot", "vm"])
def fallback(request: pytest.FixtureRequest) -> Iterator[EmulatedPhone]:
    phone = start_phone("pixel7", form=request.param, keep=False)
    yield phone
    stop_phone(phone.address)
    assert phone not in list_phones() and not Path(phone.folder).exists()


def test_it_is_the_same_phone(fallback: EmulatedPhone, tmp_path: Path, threaded_source: Path) -> None:
    program = toolchain.cross_compiler().compile([threaded_source], "threaded", flags=["-std=c++17", "-O2", "-pthread"])
    local, back = tmp_path / "local", tmp_path / "back"
    local.write_bytes(os.urandom(1_000_000))
    identity = _steadily(fallback, lambda transport: _used(transport, local, back, program))
    assert identity.emulated and identity.clock == "virtual" and identity.model == "Pixel 7"
    counts = {"proot": "weighted", "vm": "counted"}[fallback.form]
    assert identity.fingerprint.endswith(f":{counts}"), "clocks that count otherwise never compare"


def _used(transport: Transport, local: Path, back: Path, program: Path) -> DeviceIdentity:
    assert transport.shell("uname -m").output == "aarch64\n"
    assert transport.shell("exit 9").exit_code == 9
    transport.push(local, "/data/local/tmp/file")
    transport.pull("/data/local/tmp/file", back)
    assert back.read_bytes() == local.read_bytes()
    transport.push(program, "/data/local/tmp/threaded")
    assert transport.shell("/data/local/tmp/threaded").output == "sum 14\ncaught\n"
    assert "Features" in transport.shell("cat /proc/cpuinfo").output
    return identify(transport)


def test_the_machine_itself_is_out_of_sight(fallback: EmulatedPhone, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of this machine")
    command = f"cat {secret} || cat /host-rootfs{secret}"
    assert _steadily(fallback, lambda transport: transport.shell(command)).exit_code != 0


def test_it_comes_back_after_a_reboot(fallback: EmulatedPhone) -> None:
    _steadily(fallback, lambda transport: transport.shell("echo kept > /data/local/tmp/note"))
    with connect(fallback.address) as transport, pytest.raises(ConnectionLostError):
        transport.shell("reboot; sleep 60", timeout_s=60.0)
    deadline = time.monotonic() + 60.0
    while (note := _note(fallback)) is None:
        assert time.monotonic() < deadline, "it did not come back"
        time.sleep(0.2)
    assert note == "kept\n"


def _steadily(phone: EmulatedPhone, ask: Callable[[Transport], Answer]) -> Answer:
    """Under PRoot a program crashes now and then; the transport says so, and whoever measures asks again."""
    for _ in range(2 if phone.form == "proot" else 0):
        with suppress(ConnectionLostError), connect(phone.address) as transport:
            return ask(transport)
    with connect(phone.address) as transport:
        return ask(transport)


def _note(phone: EmulatedPhone) -> str | None:
    try:
        with connect(phone.address, timeout_s=10.0) as transport:
            return transport.shell("cat /data/local/tmp/note").output
    except DeviceError:
        return None
