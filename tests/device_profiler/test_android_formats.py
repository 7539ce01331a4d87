"""What Android's own tools print, as golden files that cite AOSP's source; whether the emulated phone prints alike."""

import re
from pathlib import Path

import pytest

from device_profiler.device import identify, read_state
from device_profiler.transport import ShellResult, Transport

GOLDEN = Path(__file__).parents[1] / "golden" / "aosp"


def golden(name: str) -> str:
    """A golden file without the lines that cite its source."""
    return re.sub(r"\A(#.*\n)+", "", (GOLDEN / f"{name}.txt").read_text())


class Recorded:
    """A phone that answers every command with what a golden file says; `read_state` asks for several at once."""

    address = "recorded"

    def __init__(self, **answers: str) -> None:
        self.answers = answers

    def shell(self, command: str, *, timeout_s: float = 30.0) -> ShellResult:
        parts = [part.strip() for part in command.split(";")]
        told = [part.removeprefix("echo ") + "\n" if part.startswith("echo ") else self._answer(part) for part in parts]
        return ShellResult(0, "".join(told))

    def _answer(self, command: str) -> str:
        words = command.split()
        return self.answers.get(words[1] if words[0] == "dumpsys" else words[0], "")


@pytest.mark.parametrize(
    ("battery", "expected"),
    [
        ("battery_android14", {"battery_level": "86", "battery_temperature": "27.4", "plugged": "usb"}),
        ("battery_android9", {"battery_level": "7", "battery_temperature": "-5.3", "plugged": "no"}),
        ("battery_stopped", {"battery_level": "86", "battery_temperature": "27.4", "plugged": "ac+usb"}),
    ],
)
@pytest.mark.parametrize(("thermal", "status"), [("thermalservice_android14", "3"), ("thermalservice_no_hal", "0")])
def test_the_state_of_a_phone(battery: str, expected: dict[str, str], thermal: str, status: str) -> None:
    phone = Recorded(battery=golden(battery), thermalservice=golden(thermal))
    state = read_state(phone)  # type: ignore[arg-type]
    assert {key: state[key] for key in expected} == expected and state["thermal_status"] == status


def test_lines_may_end_as_the_old_shell_protocol_ends_them() -> None:
    phone = Recorded(battery=golden("battery_android14").replace("\n", "\r\n"), thermalservice="")
    assert read_state(phone)["battery_level"] == "86"  # type: ignore[arg-type]


def test_the_properties_of_a_phone() -> None:
    identity = identify(Recorded(getprop=golden("getprop")))  # type: ignore[arg-type]
    assert (identity.model, identity.soc, identity.android) == ("Pixel 7 [test]", "GS201", "14")
    assert identity.fingerprint.endswith(":user/release-keys") and not identity.emulated and identity.clock == "wall"


def shape(text: str) -> list[str]:
    """The lines without their values and without the rows of lists, in order."""
    lines = [line for line in text.splitlines() if not line.startswith(("\tTemperature", "\tCoolingDevice"))]
    return [re.sub(r"(:|HAL) .*$", r"\1", line) for line in lines]


@pytest.mark.parametrize(
    ("command", "name"), [("battery", "battery_android14"), ("thermalservice", "thermalservice_android14")]
)
def test_the_emulated_phone_prints_as_android_does(transport: Transport, command: str, name: str) -> None:
    wanted = shape(golden(name).split("Temperature static thresholds")[0])
    assert shape(transport.shell(f"dumpsys {command}").output) == wanted
