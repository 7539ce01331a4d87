"""`devices` as a user types it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from device_profiler import debian

ROOT = Path(__file__).parents[2]


def devices(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline", "devices", *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, env=environment)


@pytest.mark.skipif(not debian.available(), reason="Debian packages can't be fetched here")
def test_a_phone_is_added_listed_and_removed() -> None:
    added = devices("add", "--emulated", "pixel7", "--json")
    assert added.returncode == 0, added.stderr
    [device] = json.loads(added.stdout)["devices"]
    address = device["address"]
    try:
        assert device["emulated"] and device["model"] == "Pixel 7" and "pixel7-cpu" in device["targets"]
        listed = json.loads(devices("--json").stdout)["devices"]
        assert [item for item in listed if item["address"] == address] == [device]
        assert device["availability"] == "free"
        assert f"{address}" in devices().stdout
        aside = devices("quarantine", address, "--reason", "its cable is loose")
        assert aside.returncode == 0, aside.stderr
        assert "quarantined: its cable is loose" in devices().stdout
        tested = devices("self-test", address, "--json")
        assert tested.returncode == 0, tested.stdout + tested.stderr
        assert {check["name"] for check in json.loads(tested.stdout)["checks"]} >= {"files", "runner", "commands"}
        assert "quarantined" not in devices().stdout
    finally:
        removed = devices("remove", address, "--json")
    assert json.loads(removed.stdout) == {"removed": [address]}
    assert address not in devices("--json").stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("add",), "wants --emulated PROFILE; known profiles: galaxy-s23, pixel7"),
        (("add", "--emulated", "nexus"), "unknown phone profile 'nexus'; known profiles: galaxy-s23, pixel7"),
        (("remove",), "wants the address of an emulated phone"),
        (("remove", "127.0.0.1:1"), "no emulated phone at '127.0.0.1:1'"),
        (("list", "127.0.0.1:1"), "takes no address"),
        (("self-test",), "wants the phone to test"),
        (("quarantine", "127.0.0.1:1"), "wants --reason TEXT"),
        (("release", "127.0.0.1:1", "--reason", "x"), "belongs to `devices quarantine`"),
        (("--form", "vm"), "--form belongs to `devices add`"),
        (("remove", "127.0.0.1:1", "--seed", "3"), "--seed belongs to `devices add`"),
        (("add", "--emulated", "pixel7", "--count", "0"), "--count is 1 to 64 phones, not 0"),
        (("add", "--emulated", "pixel7", "--ambient", "-3"), "ambient temperature is 0 to 60 °C, not -3"),
        (("add", "--emulated", "pixel7", "--seed", "-1"), "a whole number from 0 to"),
        (("add", "--emulated", "pixel7", "--property", "x"), "--property 'x' is not KEY=VALUE"),
        (("add", "--emulated", "gone.toml"), "gone.toml can't be read (No such file or directory)"),
        (("add", "--emulated", "pyproject.toml"), "pyproject.toml describes no phone"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(words: tuple[str, ...], message: str) -> None:
    done = devices(*words)
    assert done.returncode == 2 and done.stdout == ""
    assert message in done.stderr and len(done.stderr.splitlines()) == 1
