"""Start, find and stop emulated phones."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from device_profiler.emulator.forms import choose_form, find_form
from device_profiler.emulator.host_tools import host_tools
from device_profiler.emulator.phone_profile import PhoneProfile, load_profile
from device_profiler.emulator.registry import (
    LOG_FILE,
    SPEC_FILE,
    STATE_FILE,
    EmulatedPhone,
    PhoneSpec,
    list_phones,
    new_folder,
    read_state,
    remove_folder,
    start_time,
)
from device_profiler.emulator.weather import Weather
from device_profiler.errors import DeviceError, InputError
from device_profiler.files import write_atomic
from device_profiler.transport import connect

BOOT_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 15.0


def start_phone(
    profile: str | PhoneProfile = "pixel7",
    *,
    form: str | None = None,
    keep: bool = True,
    weather: Weather | None = None,
) -> EmulatedPhone:
    """Start an emulated phone (by the name of its profile, or one that was made) and wait until it answers.

    With `keep` it lives on, whoever started it, until `stop_phone`; else it also ends when this process does, however
    that ends. In a `weather` its clock is disturbed, the same way after every start.

    Raises:
        InputError: unknown profile or form, or a form whose clock knows no weather.
        DeviceError: this machine can't run the form, or the phone did not come up (its last messages are told).
    """
    described = load_profile(profile) if isinstance(profile, str) else profile
    chosen = find_form(form) if form else choose_form().form
    if form and (obstacle := chosen.obstacle()):
        raise DeviceError(f"this machine can't run the {form} form of an emulated phone: {obstacle}; leave --form out "
                          "and one that works is chosen")
    if weather and not chosen.has_weather:
        raise InputError(f"the clock of the {chosen.name} form of an emulated phone can't be disturbed: leave the seed "
                         "and the temperatures out, or take a machine that allows --form namespace or proot")
    tools = host_tools()
    folder = new_folder(described.name)
    try:
        command = chosen.prepare(folder, described, tools, weather)
        spec = PhoneSpec(described.name, chosen.name, command, chosen.owns_socket, os.getpid(), keep)
        write_atomic(folder / SPEC_FILE, msgspec.json.encode(spec))
        _start_supervisor(folder)
        return _wait_until_up(folder)
    except BaseException:
        _take_down(folder)
        raise


def stop_phone(address: str) -> None:
    """End the emulated phone at `address` and remove all it left.

    Raises:
        InputError: no emulated phone runs there; the message lists the running ones.
        DeviceError: it did not end in time.
    """
    phones = {phone.address: phone for phone in list_phones()}
    if address not in phones:
        raise InputError(f"no emulated phone at {address!r}; running: {', '.join(phones) or 'none'}")
    _take_down(Path(phones[address].folder))


def _start_supervisor(folder: Path) -> None:
    places = [str(Path(__file__).resolve().parents[2]), *sys.path]
    command = [sys.executable, "-m", "device_profiler.emulator.supervisor", str(folder)]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, places))},
                          stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                          timeout=60)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise DeviceError(f"the emulated phone's supervisor does not start: {reason}")


def _wait_until_up(folder: Path) -> EmulatedPhone:
    deadline = time.monotonic() + BOOT_TIMEOUT_S
    phone: EmulatedPhone | None = None
    while time.monotonic() < deadline:
        was_written = (folder / STATE_FILE).exists()  # asked first: it may be written in between
        phone = read_state(folder)
        if phone and _answers(phone.address):
            return phone
        if phone is None and was_written:
            raise DeviceError(f"the emulated phone ended at its start: {_last_messages(folder)}")
        time.sleep(0.1)
    raise DeviceError(f"the emulated phone did not answer within {BOOT_TIMEOUT_S:.0f} s ({_last_messages(folder)}); "
                      "see what else keeps this machine busy, then try again")


def _answers(address: str) -> bool:
    try:
        with connect(address, timeout_s=5.0) as transport:
            return transport.shell("getprop sys.boot_completed", timeout_s=10.0).output.strip() == "1"
    except DeviceError:
        return False


def _last_messages(folder: Path) -> str:
    try:
        lines = (folder / LOG_FILE).read_text(errors="replace").strip().splitlines()
    except FileNotFoundError:
        lines = []
    return " | ".join(lines[-4:])[-400:] or "it left no message"


def _take_down(folder: Path) -> None:
    """End the supervisor of `folder`, if any, then remove the folder."""
    phone = read_state(folder)
    if phone:
        _end(phone, signal.SIGTERM)
    if phone and not _gone_within(phone, STOP_TIMEOUT_S):
        _end(phone, signal.SIGKILL)
        if not _gone_within(phone, STOP_TIMEOUT_S):
            raise DeviceError(f"the supervisor (process {phone.pid}) of the emulated phone at {phone.address} "
                              f"can't be ended, not even by SIGKILL: only a restart of this machine ends it")
    if folder.exists():
        remove_folder(folder)


def _end(phone: EmulatedPhone, number: signal.Signals) -> None:
    if start_time(phone.pid) == phone.started:
        os.kill(phone.pid, number)


def _gone_within(phone: EmulatedPhone, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while start_time(phone.pid) == phone.started:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
