"""Phones: emulated ones, attached ones, the right to reach them by USB, and the key that they trust."""

import os
import platform
from pathlib import Path

from device_profiler import debian
from device_profiler.emulator.forms import choose_form
from device_profiler.emulator.registry import list_phones
from device_profiler.errors import InputError
from device_profiler.files import cache_folder
from device_profiler.links import attached_serials
from pipeline.health.check import Check, attempt
from pipeline.health.machine import REAL_PHONE

AREA = "phones"
USB_DEVICES = Path("/sys/bus/usb/devices")
USB_NODES = Path("/dev/bus/usb")
ADB_INTERFACE = ("ff", "42", "01")
"""Class, subclass and protocol of ADB's USB interface (AOSP, packages/modules/adb, adb.h)."""
UDEV_RULES = "sudo apt-get install android-sdk-platform-tools-common, then attach the phone anew"


def check_phones() -> list[Check]:
    """What phones there are, what may be emulated, and what stands between this machine and a phone."""
    return [attempt(AREA, "emulated phone", _emulated, REAL_PHONE), _present(), *check_usb(), check_keys(Path.home())]


def _emulated() -> str:
    if not debian.available():
        raise InputError("it is built from Debian packages, which can't be fetched here")
    return choose_form().reason()


def _present() -> Check:
    attached, emulated = attached_serials(), [phone.address for phone in list_phones()]
    if attached or emulated:
        told = f"attached: {', '.join(attached) or 'none'}; emulated: {', '.join(emulated) or 'none'}"
        return Check(AREA, "phones", "works", told)
    if not debian.available():
        return Check(AREA, "phones", "missing", "none attached, and none can be emulated here", REAL_PHONE)
    return Check(AREA, "phones", "note", "none attached; `deploy` starts an emulated one and says so")


def check_usb(devices: Path = USB_DEVICES, nodes: Path = USB_NODES) -> list[Check]:
    """A finding for every phone on USB that speaks ADB: may this user open it? `devices`, `nodes`: sysfs and /dev."""
    if platform.system() != "Linux":
        return []
    found = sorted({path.parent for path in devices.glob("*/*/bInterfaceClass") if _speaks_adb(path.parent)})
    return [_usb_right(interface.parent, nodes) for interface in found]


def _speaks_adb(interface: Path) -> bool:
    names = ("bInterfaceClass", "bInterfaceSubClass", "bInterfaceProtocol")
    return tuple(_read(interface / name) for name in names) == ADB_INTERFACE


def _usb_right(device: Path, nodes: Path) -> Check:
    node = nodes / _read(device / "busnum").zfill(3) / _read(device / "devnum").zfill(3)
    name = f"USB phone {_read(device / 'serial') or device.name}"
    if os.access(node, os.R_OK | os.W_OK):
        return Check(AREA, name, "works", f"{node} may be opened")
    return Check(AREA, name, "missing", f"this user may not open {node}", UDEV_RULES)


def _read(path: Path) -> str:
    return path.read_text().strip() if path.is_file() else ""


def check_keys(home: Path) -> Check:
    """The key that a phone is asked to trust: the user's own, else one that is made on first use."""
    users, own = home / ".android" / "adbkey", cache_folder("keys") / "adbkey"
    for key in (users, own):
        if key.is_file() and key.with_suffix(".pub").is_file():
            return Check(AREA, "adb key", "works", str(key))
        if key.is_file():
            return Check(AREA, "adb key", "missing", f"{key} has no {key.name}.pub beside it",
                         f"remove {key}: a new pair is made, and the phone asks once more")
    return Check(AREA, "adb key", "note", f"none yet: made in {own.parent} when a phone first asks")
