"""`doctor` finds what is missing and says what mends it: held by hiding things."""

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from pipeline.cli.doctor import _lines
from pipeline.health import Check, examine
from pipeline.health.machine import check_free, check_memory
from pipeline.health.packages import check_package, check_packages
from pipeline.health.phones import check_keys, check_usb
from pipeline.health.sdks import check_qnn, check_sdks

ROOT = Path(__file__).parents[2]
GB = 10**9


def doctor(tmp_path: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    given = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path / "home"), **environment}
    command = [sys.executable, "-m", "pipeline", "doctor", *words]
    return subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, timeout=120, check=True)


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_json_is_typed_and_nothing_on_the_path_is_told_with_its_remedy(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = doctor(tmp_path, "--json", PATH=str(tmp_path / "empty"), QNN_SDK_ROOT=str(tmp_path))
    content = json.loads(done.stdout)
    assert set(content) == {"checks"}
    found = by_name(msgspec.convert(content["checks"], list[Check]))
    assert found["apt"].state == "missing" and "aarch64 cross g++" in found["apt"].remedy
    assert found["emulated phone"].state == "missing" and "--device" in found["emulated phone"].remedy
    assert found["QNN SDK"].state == "missing" and "export QNN_SDK_ROOT" in found["QNN SDK"].remedy
    assert found["adb"].state == "note" and found["browser"].state == "note"
    assert found["python"].state == "works" and found["torch"].state == "works"


def test_what_is_missing_has_a_remedy_and_names_are_unique(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    checks = examine()
    assert [check for check in checks if check.state == "missing" and not check.remedy] == []
    assert len(by_name(checks)) == len(checks)


def test_a_person_reads_the_verdict_last_and_no_colour(tmp_path: Path) -> None:
    done = doctor(tmp_path, PATH="/nowhere")
    lines = done.stdout.splitlines()
    assert "apt" in lines[-1] and lines[-1].endswith("each says above (->) what mends it")
    assert any(line.strip().startswith("-> ") for line in lines)
    assert "\x1b" not in done.stdout + done.stderr


def test_nothing_missing_names_the_next_command() -> None:
    assert _lines([Check("python", "python", "works", "3.11")], everything=False)[-1].endswith(
        "python -m pipeline deploy --target pixel7-npu"
    )


def test_packages_share_a_line_unless_all_are_wanted() -> None:
    checks = [Check("python", name, "works", "1") for name in ("python", "torch", "numpy")]
    checks.append(Check("python", "timm", "missing", "not installed", "python -m pip install -e ."))
    short, long = _lines(checks, everything=False), _lines(checks, everything=True)
    assert short[1] == "  works    python 1 and 2 packages as tested" and "timm" in short[2]
    assert any("numpy" in line for line in long) and len(long) == len(short) + 2


def test_a_package_that_is_absent_or_of_another_version_is_missing() -> None:
    absent, other = check_package("no-such-package", "1.0"), check_package("msgspec", "0.0.1")
    assert (absent.state, absent.remedy) == ("missing", "python -m pip install -e .")
    assert other.state == "missing" and "0.0.1 is what was tested" in other.detail
    assert {"torch", "numpy", "adb-shell"} <= {check.name for check in check_packages()}


def test_disk_and_memory_count_what_a_deployment_takes(tmp_path: Path) -> None:
    assert check_free(tmp_path, 20 * GB, 0).state == "works"
    assert check_free(tmp_path, 4 * GB, 9 * GB).state == "works"
    short = check_free(tmp_path, 4 * GB, 1 * GB)
    assert short.state == "missing" and "XDG_CACHE_HOME" in short.remedy and str(tmp_path) in short.remedy
    assert (check_memory(16 * GB).state, check_memory(4 * GB).state) == ("works", "missing")


def usb_phone(root: Path, *, interface: tuple[str, str, str], readable: bool) -> tuple[Path, Path]:
    """A phone as sysfs and /dev show it."""
    device, nodes = root / "sys" / "1-2", root / "dev"
    (device / "1-2:1.0").mkdir(parents=True)
    names = ("bInterfaceClass", "bInterfaceSubClass", "bInterfaceProtocol")
    for name, value in zip(names, interface, strict=True):
        (device / "1-2:1.0" / name).write_text(f"{value}\n")
    for name, value in (("busnum", "1"), ("devnum", "7"), ("serial", "29HX")):
        (device / name).write_text(f"{value}\n")
    (nodes / "001").mkdir(parents=True)
    if readable:
        (nodes / "001" / "007").touch()
    return root / "sys", nodes


def test_a_phone_that_this_user_may_not_open_is_told_with_the_udev_rules(tmp_path: Path) -> None:
    closed = check_usb(*usb_phone(tmp_path / "a", interface=("ff", "42", "01"), readable=False))
    assert [(check.name, check.state) for check in closed] == [("USB phone 29HX", "missing")]
    assert "android-sdk-platform-tools-common" in closed[0].remedy
    opened = check_usb(*usb_phone(tmp_path / "b", interface=("ff", "42", "01"), readable=True))
    assert opened[0].state == "works"
    assert check_usb(*usb_phone(tmp_path / "c", interface=("08", "06", "50"), readable=True)) == []


def test_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert check_keys(tmp_path).state == "note"
    (tmp_path / ".android").mkdir()
    (tmp_path / ".android" / "adbkey").write_text("private")
    half = check_keys(tmp_path)
    assert half.state == "missing" and "adbkey.pub" in half.detail and "remove" in half.remedy
    (tmp_path / ".android" / "adbkey.pub").write_text("public")
    assert check_keys(tmp_path).state == "works"


def test_the_qnn_sdk(tmp_path: Path) -> None:
    assert check_qnn(None).state == "note"
    assert check_qnn(str(tmp_path)).state == "missing"
    (tmp_path / "lib").mkdir()
    assert check_qnn(str(tmp_path)).state == "works"


def test_tools_are_found_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("adb", "chromium"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = by_name(check_sdks())
    assert (found["adb"].state, found["browser"].state) == ("works", "works")
    assert found["adb"].detail == str(tmp_path / "adb")
