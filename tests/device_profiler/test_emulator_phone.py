"""The emulated phone lives, recovers and goes away as it should, and its clock is repeatable."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from adb_shell.adb_device import AdbDeviceTcp

from device_profiler import toolchain
from device_profiler.emulator import forms
from device_profiler.emulator.forms import choose_form, find_form
from device_profiler.emulator.namespace import NamespaceForm
from device_profiler.emulator.phone import start_phone, stop_phone
from device_profiler.emulator.phone_profile import INSTRUCTION_CLASSES, load_profile
from device_profiler.emulator.registry import EmulatedPhone, list_phones, phones_folder
from device_profiler.errors import DeviceError, InputError
from device_profiler.transport import ConnectionLostError, Transport, connect

CLOCK_SOURCE = """
#include <stdio.h>
#include <time.h>
static long long now(int clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}
int main(void) {
    volatile double x = 1;
    for (int run = 0; run < 3; run++) {
        long long before = now(CLOCK_MONOTONIC);
        for (int i = 0; i < 1000000; i++) x = x * 1.0000001 + 1;
        printf("%lld\\n", now(CLOCK_MONOTONIC) - before);
    }
}
"""


def eventually(check: Callable[[], bool], seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _answers(phone: EmulatedPhone, command: str, expected: str) -> bool:
    try:
        with connect(phone.address, timeout_s=5.0) as transport:
            return transport.shell(command).output == expected
    except DeviceError:
        return False


def _processes_of(folder: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            links = [str((path / name).readlink()) for name in ("cwd", "root", "exe")]
            text = (path / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if any(folder in item for item in (*links, text)):
            found.append(f"{path.name} {text}")
    return found


@pytest.fixture(scope="module")
def clock_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("source") / "clock.c"
    source.write_text(CLOCK_SOURCE)
    return toolchain.cross_compiler().compile([source], "clock", flags=["-O1"], language="c")


def test_it_is_an_arm64_android_phone(transport: Transport) -> None:
    assert transport.shell("uname -m").output == "aarch64\n"
    assert transport.shell("getprop ro.soc.model; getprop ro.mess.emulated").output == "GS201\n1\n"
    assert transport.shell("cat /sys/devices/system/cpu/possible").output == "0-7\n"
    assert transport.shell("ps -A | grep -c adbd").output == "1\n"
    assert transport.shell("setprop debug.mess 5; getprop debug.mess").output == "5\n"
    assert transport.shell("setprop ro.soc.model X").exit_code == 1


def test_it_listens_on_loopback_only_and_off_adbs_own_ports(phone: EmulatedPhone) -> None:
    port = int(phone.address.rsplit(":", 1)[1])
    assert phone.address.startswith("127.0.0.1:") and port not in range(5555, 5586)
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = [row[1] for row in rows if row[3] == "0A" and row[1].endswith(f":{port:04X}")]
    assert listening == [f"0100007F:{port:04X}"]


def test_a_mask_of_existing_cores_is_taken_and_another_refused(transport: Transport) -> None:
    assert transport.shell("taskset c0 echo big").output == "big\n"
    assert transport.shell("taskset 100 echo none").exit_code == 1


def test_the_clock_is_the_same_in_every_run(transport: Transport, clock_program: Path) -> None:
    transport.push(clock_program, "/data/local/tmp/clock")
    runs = [[int(line) for line in transport.shell("/data/local/tmp/clock").output.split()] for _ in range(3)]
    assert runs[0] == runs[1] == runs[2]
    assert max(runs[0]) - min(runs[0]) <= 1, "whole nanoseconds"
    # A million turns of a handful of instructions, at a few tenths of a cycle each.
    assert 100_000 < runs[0][0] < 10_000_000


def test_it_comes_back_after_a_reboot_and_keeps_its_data() -> None:
    phone = start_phone("pixel7", keep=False)
    try:
        with connect(phone.address) as transport:
            transport.shell("echo kept > /data/local/tmp/note; setprop persist.note 1")
            with pytest.raises(ConnectionLostError):
                transport.shell("reboot; sleep 30")
        assert eventually(lambda: _answers(phone, "cat /data/local/tmp/note", "kept\n"))
        with connect(phone.address) as transport, pytest.raises(ConnectionLostError):
            transport.shell("kill -9 $(pidof adbd); sleep 30")
        assert eventually(lambda: _answers(phone, "cat /data/local/tmp/note", "kept\n"))
    finally:
        stop_phone(phone.address)


def test_a_child_of_adbd_that_never_gets_to_exec_is_ended(phone: EmulatedPhone, transport: Transport) -> None:
    if phone.form == "vm":
        pytest.skip("nothing is forked under qemu-user in a VM")
    transport.shell("cp /system/bin/sh /data/local/tmp/adbd")  # a child under this name looks like adbd's fork
    host, port = phone.address.split(":")
    client = AdbDeviceTcp(host, int(port))
    client.connect()
    answer = client.shell("exec /data/local/tmp/adbd -c 'while :; do sleep 1; done'", read_timeout_s=120, timeout_s=120)
    client.close()
    assert answer == "" and "between fork and exec: ended" in (Path(phone.folder) / "phone.log").read_text()
    assert transport.shell("echo alive").output == "alive\n"


def test_removal_leaves_nothing() -> None:
    phone = start_phone("pixel7")
    with connect(phone.address) as transport:
        transport.shell("mkdir -p /data/local/tmp/locked/inner; chmod 0 /data/local/tmp/locked")
        transport.shell("(setsid sleep 300 >/dev/null 2>&1 &)")
    assert _processes_of(phone.folder)
    stop_phone(phone.address)
    assert not Path(phone.folder).exists()
    assert _processes_of(phone.folder) == []
    assert phone.folder not in Path("/proc/mounts").read_text()
    assert phone not in list_phones()
    with pytest.raises(InputError, match="no emulated phone at"):
        stop_phone(phone.address)


def test_it_ends_with_a_creator_that_is_killed(tmp_path: Path) -> None:
    code = ("from device_profiler.emulator.phone import start_phone\nimport time\n"
            "print(start_phone(keep=False).folder, flush=True)\ntime.sleep(300)")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    creator = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
    assert creator.stdout is not None
    folder = creator.stdout.readline().strip()
    assert Path(folder).is_dir()
    creator.send_signal(signal.SIGKILL)
    creator.communicate()
    assert eventually(lambda: not Path(folder).exists() and not _processes_of(folder))


def test_what_a_killed_supervisor_left_is_cleared_away() -> None:
    phone = start_phone("pixel7")
    os.kill(phone.pid, signal.SIGKILL)
    assert eventually(lambda: phone not in list_phones())
    assert eventually(lambda: not _processes_of(phone.folder)), "the phone dies with its supervisor"
    assert not Path(phone.folder).exists()


def test_a_phone_that_can_not_start_says_why_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> tuple[str, ...]:
        return ("sh", "-c", "echo the kernel said no >&2; exit 3")

    before = set(phones_folder().iterdir())
    monkeypatch.setattr(NamespaceForm, "prepare", broken)
    with pytest.raises(DeviceError, match="the kernel said no"):
        start_phone("pixel7", form="namespace")
    assert set(phones_folder().iterdir()) <= before


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(InputError, match=r"unknown phone profile 'nexus'; known profiles: .*pixel7"):
        start_phone("nexus")
    with pytest.raises(InputError, match=r"unknown form 'cloud'.*namespace, proot, vm"):
        find_form("cloud")


def test_where_policy_forbids_namespaces_proot_is_chosen_and_the_reason_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing = tmp_path / "unshare"
    refusing.write_text("#!/bin/sh\necho 'unshare: unshare failed: Operation not permitted' >&2\nexit 1\n")
    refusing.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    choice = choose_form()
    assert choice.form.name == "proot"
    assert "not namespace: user namespaces are not allowed here" in choice.reason()
    with pytest.raises(DeviceError, match=r"can't run the namespace form.*not allowed here"):
        start_phone("pixel7", form="namespace")


def test_where_no_form_works_every_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hopeless(NamespaceForm):
        def obstacle(self) -> str | None:
            return "the moon is wrong"

    monkeypatch.setattr(forms, "all_forms", lambda: (Hopeless(),))
    with pytest.raises(DeviceError, match=r"not namespace: the moon is wrong.*--device"):
        choose_form()


def test_every_figure_of_the_clock_has_a_source() -> None:
    clock = load_profile("pixel7").clock
    for parameter in (clock.ghz, *(getattr(clock.cycles, name) for name in INSTRUCTION_CLASSES)):
        assert parameter.value > 0 and parameter.source
    assert clock.mean_ns() == pytest.approx((0.2 * 0.25 + 0.5 * 0.3 + 0.2 * 0.4 + 0.1 * 0.5) / 2.85)
