"""One phone, one job: between processes of this host, between hosts, and after a holder's sudden end."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from device_profiler import leases
from device_profiler.device import connect_device, hold, identify, open_device
from device_profiler.emulator.registry import EmulatedPhone
from device_profiler.errors import DeviceError
from device_profiler.leases import BusyError, LeasedTransport, LeaseLostError, holder_elsewhere, take
from device_profiler.listing import describe
from device_profiler.measurement import DeviceIdentity
from device_profiler.targets import find_target
from device_profiler.transport import Transport

ROOT = Path(__file__).parents[2]
HOLD = """
import sys, time
from device_profiler.device import connect_device, hold
with hold(connect_device(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def identity(transport: Transport) -> DeviceIdentity:
    return identify(transport)


@dataclass
class Host:
    """Another process that holds a phone; `cache` of its own makes it another host."""

    cache: Path | None = None
    running: list[subprocess.Popen[str]] = field(default_factory=list)

    def hold(self, address: str) -> subprocess.Popen[str]:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        if self.cache:
            environment["XDG_CACHE_HOME"] = str(self.cache)
        process = subprocess.Popen([sys.executable, "-c", HOLD, address], stdout=subprocess.PIPE, text=True,
                                   env=environment)
        self.running.append(process)
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        return process


@pytest.fixture
def process() -> Iterator[Host]:
    host = Host()
    yield host
    _end(host)


@pytest.fixture
def other_host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path / "cache")
    yield host
    _end(host)


def _end(host: Host) -> None:
    for process in host.running:
        process.send_signal(signal.SIGINT)
        process.wait(30)


@pytest.fixture
def moved_uptime(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Fault injection: the phone's uptime, as others see it, is this much further on [s]."""

    def move(seconds: int) -> None:
        monkeypatch.setattr(leases, "_UP", f"{leases._UP}; up=$((up+{seconds}))")

    return move


def test_a_phone_that_another_process_has_is_busy_and_the_holder_is_named(phone: EmulatedPhone, process: Host) -> None:
    holder = process.hold(phone.address)
    with pytest.raises(BusyError, match=rf"{phone.address} is busy: process {holder.pid} of"):
        open_device(phone.address, find_target("pixel7-cpu"))
    listed = describe(phone.address, phone)
    assert listed.availability == "leased" and f"process {holder.pid}" in (listed.leased_by or "")
    assert listed.state == {}, "a phone under measurement is left alone"


def test_a_killed_holder_frees_the_phone_at_once(phone: EmulatedPhone, process: Host) -> None:
    holder = process.hold(phone.address)
    holder.kill()
    holder.wait()
    with open_device(phone.address, find_target("pixel7-cpu")) as device:
        assert device.transport.shell("echo mine").output == "mine\n"
    assert describe(phone.address, phone).availability == "free"


def test_two_hosts_want_one_phone(phone: EmulatedPhone, other_host: Host) -> None:
    holder = other_host.hold(phone.address)
    with pytest.raises(BusyError, match=rf"process {holder.pid} of"):
        open_device(phone.address, find_target("pixel7-cpu"))
    assert describe(phone.address, phone).availability == "leased"
    _end(other_host)
    with open_device(phone.address, find_target("pixel7-cpu")):
        pass


def test_a_host_that_vanished_loses_the_phone_when_its_time_is_over(
    phone: EmulatedPhone, other_host: Host, moved_uptime: Callable[[int], None], transport: Transport
) -> None:
    other_host.hold(phone.address).kill()
    with pytest.raises(BusyError):
        open_device(phone.address, find_target("pixel7-cpu"))
    moved_uptime(leases.LEASE_S + 60)
    with open_device(phone.address, find_target("pixel7-cpu")) as device:
        assert device.lease is not None and not device.lease.shared
    assert transport.shell(f"ls -d {leases.PHONE_LEASE}* 2>/dev/null").output == "", "nothing is left"


def test_a_lease_that_was_taken_over_stops_the_work(
    phone: EmulatedPhone, other_host: Host, transport: Transport
) -> None:
    with hold(connect_device(phone.address)) as device:
        transport.shell(f"rm -rf {leases.PHONE_LEASE}")
        other_host.hold(phone.address)
        device.transport.shell("echo not due yet")
        assert device.lease is not None
        device.lease._renewed -= leases.LEASE_S
        with pytest.raises(LeaseLostError, match="was taken by process"):
            device.transport.shell("echo due")


def test_work_renews_the_lease(phone: EmulatedPhone, monkeypatch: pytest.MonkeyPatch, transport: Transport) -> None:
    def expires() -> int:
        return int(transport.shell(f"cat {leases.PHONE_LEASE}/holder").output.split()[2])

    with hold(connect_device(phone.address)) as device:
        assert isinstance(device.transport, LeasedTransport)
        before = expires()
        device.transport.lease._renewed -= leases.LEASE_S
        monkeypatch.setattr(leases, "LEASE_S", leases.LEASE_S + 100)
        device.transport.shell("true")
        assert expires() >= before + 100


def test_a_helper_process_shares_by_token_and_does_not_release(phone: EmulatedPhone, transport: Transport) -> None:
    with hold(connect_device(phone.address)) as device:
        assert device.lease is not None
        with open_device(phone.address, find_target("pixel7-cpu"), lease_token=device.lease.token) as helper:
            assert helper.lease is not None and helper.lease.shared
        with pytest.raises(BusyError):
            open_device(phone.address, find_target("pixel7-cpu"), lease_token="another")
        assert holder_elsewhere(transport) is None
        assert device.lease.token in transport.shell(f"cat {leases.PHONE_LEASE}/holder").output


def test_a_phone_started_anew_forgets_its_leases(
    phone: EmulatedPhone, transport: Transport, identity: DeviceIdentity, other_host: Host
) -> None:
    """Its uptime begins again: a lease that runs on for longer than any lease lasts is from before."""
    transport.shell(f"mkdir {leases.PHONE_LEASE}; echo 'old elsewhere 99999999 process 1 of somebody' "
                    f"> {leases.PHONE_LEASE}/holder")
    lease = take(transport, identity)
    lease.release(transport)


def test_only_one_of_many_gets_it(phone: EmulatedPhone, tmp_path: Path) -> None:
    """Four hosts at once, all wanting a lease that ran out."""
    with connect_device(phone.address) as device:
        device.transport.shell(f"mkdir {leases.PHONE_LEASE}; echo 'old elsewhere 1 process 1 of somebody' "
                               f"> {leases.PHONE_LEASE}/holder")
    script = HOLD.replace("time.sleep(600)", "sys.stdin.read()")
    hosts = [subprocess.Popen([sys.executable, "-c", script, phone.address], text=True, stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env=os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path / str(number))})
             for number in range(4)]
    winners = []
    for host in hosts:
        assert host.stdout is not None
        if host.stdout.readline() == "held\n":
            winners.append(host)
    for host in hosts:
        said = host.communicate("")[1]
        assert host in winners or "is busy: " in said
    assert len(winners) == 1


def test_a_record_is_plain_data(identity: DeviceIdentity, transport: Transport) -> None:
    with_odd_name = msgspec.structs.replace(identity, properties={"ro.serialno": "../../x y"})
    lease = take(transport, with_odd_name)
    assert lease.key == ".._.._x_y"
    lease.release(transport)


def test_a_phone_that_can_keep_no_lease_says_so(
    identity: DeviceIdentity, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "PHONE_LEASE", "/proc/nowhere")
    with pytest.raises(DeviceError, match=r"can't keep a lease.*storage is full") as caught:
        take(transport, identity)
    assert not isinstance(caught.value, BusyError)
