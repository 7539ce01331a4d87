"""Vendors' tools and the browser: what each is for, and how to get it. None is needed for a first deployment."""

import os
import platform
import shutil
from pathlib import Path

from pipeline.health.check import Check

AREA = "optional"
QNN_VARIABLE = "QNN_SDK_ROOT"
BROWSERS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")


def check_sdks() -> list[Check]:
    """What some targets, imports and tests use."""
    return [check_qnn(os.environ.get(QNN_VARIABLE)), _xcode(), _adb(), _browser()]


def check_qnn(root: str | None) -> Check:
    """Qualcomm AI Engine Direct, for NPUs of Snapdragon phones: `root` is what QNN_SDK_ROOT says."""
    where = "get it at qualcomm.com/developer (AI Engine Direct), unpack it, then: export QNN_SDK_ROOT=FOLDER"
    if not root:
        return Check(AREA, "QNN SDK", "note", f"{QNN_VARIABLE} is not set; only for the NPU of a Snapdragon", where)
    if not (Path(root) / "lib").is_dir():
        return Check(AREA, "QNN SDK", "missing", f"{QNN_VARIABLE}={root} holds no lib/", where)
    return Check(AREA, "QNN SDK", "works", root)


def _xcode() -> Check:
    found = shutil.which("xcrun")
    if found:
        return Check(AREA, "Xcode", "works", found)
    if platform.system() != "Darwin":
        return Check(AREA, "Xcode", "note", "runs on a Mac: iPhones are timed there, `devices import` takes the report")
    return Check(AREA, "Xcode", "note", "not installed: no Core ML performance reports", "xcode-select --install")


def _adb() -> Check:
    found = shutil.which("adb")
    if found:
        return Check(AREA, "adb", "works", found)
    return Check(AREA, "adb", "note", "not installed; phones are reached without it",
                 "for `adb tcpip 5556` on a phone: sudo apt-get install adb")


def _browser() -> Check:
    found = next((path for name in BROWSERS for path in [shutil.which(name)] if path), None)
    if found:
        return Check(AREA, "browser", "works", found)
    return Check(AREA, "browser", "note", "no chromium on PATH: the tests unpack Debian's into the cache")
