"""Which phone it is and what state it is in, from what Android says; and what `--device` chooses."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import msgspec
import pytest

from device_profiler import device
from device_profiler.device import identify, matches, open_device, read_state
from device_profiler.emulator.phone import start_phone, stop_phone
from device_profiler.emulator.registry import EmulatedPhone, list_phones
from device_profiler.errors import DeviceError
from device_profiler.targets import Target, find_target
from device_profiler.transport import ShellResult, Transport

GETPROP = """[dalvik.vm.heapsize]: [512m]
[ro.build.fingerprint]: [google/panther/panther:15/BP1A.250305.019/13003188:user/release-keys]
[ro.build.version.release]: [15]
[ro.product.cpu.abi]: [arm64-v8a]
[ro.product.model]: [Pixel 7]
[ro.soc.model]: [GS201]
[sys.note]: [a [bracketed] value]
"""
BATTERY = """Current Battery Service state:
  AC powered: true
  USB powered: false
  Wireless powered: true
  Max charging current: 1500000
  status: 2
  present: true
  level: 64
  scale: 100
  voltage: 4012
  temperature: 355
"""
THERMAL = """IsStatusOverride: false
Thermal Status: 2
Cached temperatures:
\tTemperature{mValue=41.2, mType=3, mName=VIRTUAL-SKIN, mStatus=2}
"""


@dataclass
class ScriptedTransport:
    """A phone that gives fixed answers: what a real one would say."""

    answers: dict[str, str]
    address: str = "SERIAL1"
    asked: list[str] = field(default_factory=list)

    def shell(self, command: str, *, timeout_s: float = 30.0) -> ShellResult:
        self.asked.append(command)
        if "mess-deploy.lease" in command:
            return ShellResult(0, "lease taken\n")
        parts = [next((text for key, text in self.answers.items() if key in part), "") for part in command.split(";")
                 if "echo" not in part]
        return ShellResult(0, "__next__\n".join(parts))

    def push(self, local: object, remote: str, *, timeout_s: float = 120.0) -> bool:
        raise AssertionError

    def pull(self, remote: str, local: object, *, timeout_s: float = 120.0) -> None:
        raise AssertionError

    def close(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        pass


@pytest.fixture
def target() -> Target:
    return find_target("pixel7-cpu")


def test_a_real_phone_is_measured_on_the_wall_clock() -> None:
    identity = identify(ScriptedTransport({"getprop": GETPROP}))
    assert (identity.model, identity.soc, identity.android, identity.emulated, identity.clock) == (
        "Pixel 7", "GS201", "15", False, "wall")
    assert identity.fingerprint == "google/panther/panther:15/BP1A.250305.019/13003188:user/release-keys"


def test_androids_own_emulator_declares_itself() -> None:
    identity = identify(ScriptedTransport({"getprop": GETPROP + "[ro.kernel.qemu]: [1]\n"}))
    assert identity.emulated and identity.clock == "wall"


def test_a_phone_that_gives_no_properties_is_an_error() -> None:
    with pytest.raises(DeviceError, match="no Android phone"):
        identify(ScriptedTransport({"getprop": "/bin/sh: getprop: not found\n"}))


def test_the_state_is_read_from_androids_formats() -> None:
    answers = {"battery": BATTERY, "thermal": THERMAL, "cpufreq": "1803000\n2348000\n"}
    assert read_state(ScriptedTransport(answers)) == {
        "battery_level": "64", "plugged": "ac+wireless", "battery_temperature": "35.5", "thermal_status": "2",
        "cpu_khz": "1803000,2348000"}


def test_what_the_phone_does_not_tell_is_left_out() -> None:
    assert read_state(ScriptedTransport({"battery": "Can't find service: battery\n"})) == {}


def test_the_emulated_phone_says_so_however_it_is_reached(transport: Transport, target: Target) -> None:
    identity = identify(transport)
    assert identity.emulated and identity.clock == "virtual"
    assert identity.model == "Pixel 7" and matches(identity, target)
    assert "emulated" in identity.fingerprint
    state = read_state(transport)
    assert state["battery_level"] == "87" and state["thermal_status"] == "0"
    assert state["cpu_khz"].split(",")[-1] == "2850000"


def test_a_hot_phone_shows_in_its_state(transport: Transport) -> None:
    transport.shell("cmd thermalservice override-status 3")
    try:
        assert read_state(transport)["thermal_status"] == "3"
    finally:
        transport.shell("cmd thermalservice reset")
    assert read_state(transport)["thermal_status"] == "0"


def test_auto_falls_back_to_an_emulated_phone_with_a_warning_and_stops_it(phone: EmulatedPhone, target: Target) -> None:
    own = msgspec.structs.replace(target)
    with open_device("auto", own) as opened:
        assert opened.warning is not None and "no Pixel 7 is attached" in opened.warning
        assert opened.provenance == "emulated"
        assert opened.transport.shell("uname -m").output == "aarch64\n"
        started = opened.emulated_phone
    assert started not in list_phones()
    assert phone in list_phones(), "another's phone is left alone"


def test_an_added_phone_is_used_again_and_lives_on(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    added = start_phone("pixel7")
    try:
        with monkeypatch.context() as patch:
            patch.setattr(device, "list_phones", lambda: [added])
            with open_device("emulated", target) as opened:
                assert (opened.identity.address, opened.emulated_phone) == (added.address, None)
                assert opened.warning is None
        assert added in list_phones()
    finally:
        stop_phone(added.address)


def test_a_phone_of_a_process_is_not_shared(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    own = start_phone("pixel7", keep=False)
    try:
        monkeypatch.setattr(device, "list_phones", lambda: [own])
        with open_device("emulated", target) as opened:
            monkeypatch.undo()
            assert opened.identity.address != own.address
    finally:
        stop_phone(own.address)


@pytest.mark.parametrize("requested", ["auto", "emulated"])
def test_require_device_forbids_an_emulated_stand_in(requested: str, target: Target) -> None:
    before = list_phones()
    with pytest.raises(DeviceError, match="--require-device forbids the emulated"):
        open_device(requested, target, require_device=True)
    assert list_phones() == before


def test_require_device_forbids_an_emulated_phone_at_an_address(phone: EmulatedPhone, target: Target) -> None:
    with pytest.raises(DeviceError, match=f"{phone.address} is an emulated Pixel 7"):
        open_device(phone.address, target, require_device=True)


def test_a_phone_of_another_model_is_refused_and_named(phone: EmulatedPhone, target: Target) -> None:
    other = msgspec.structs.replace(target, name="pixel9-cpu", properties={"ro.product.model": "Pixel 9"})
    with pytest.raises(DeviceError, match=r"is a Pixel 7 \(GS201\), target pixel9-cpu wants .*model = 'Pixel 9'"):
        open_device(phone.address, other)


@pytest.fixture
def attached(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ScriptedTransport]]:
    """Phones on USB, by serial: scripted, for there is no real one here."""
    phones: dict[str, ScriptedTransport] = {}
    monkeypatch.setattr(device, "attached_serials", lambda: tuple(phones))
    monkeypatch.setattr(device, "connect", lambda serial: phones[serial])
    monkeypatch.setattr(device, "server_phones", lambda: ())
    yield phones


def test_auto_takes_the_attached_phone_that_matches(attached: dict[str, ScriptedTransport], target: Target) -> None:
    attached["OTHER"] = ScriptedTransport({"getprop": GETPROP.replace("Pixel 7", "Pixel 8")}, "OTHER")
    attached["MINE"] = ScriptedTransport({"getprop": GETPROP}, "MINE")
    with open_device("auto", target, require_device=True) as opened:
        assert (opened.identity.address, opened.warning, opened.provenance) == ("MINE", None, "measured")


def test_the_error_names_the_attached_phones_that_do_not_match(
    attached: dict[str, ScriptedTransport], target: Target
) -> None:
    attached["OTHER"] = ScriptedTransport({"getprop": GETPROP.replace("Pixel 7", "Pixel 8")}, "OTHER")
    with pytest.raises(DeviceError, match="OTHER is a Pixel 8"):
        open_device("auto", target, require_device=True)


def test_a_target_without_properties_matches_no_android_phone(transport: Transport, target: Target) -> None:
    assert not matches(identify(transport), msgspec.structs.replace(target, properties={}))
