"""`devices`: list the phones that can be reached, start and stop emulated ones."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from device_profiler.errors import InputError

if TYPE_CHECKING:
    from device_profiler.listing import ListedDevice

HELP = "list phones; start (add) and stop (remove) emulated ones"
LIST, ADD, REMOVE = "list", "add", "remove"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`devices`, `devices add --emulated PROFILE [--form FORM]`, `devices remove ADDRESS`."""
    parser.add_argument("action", nargs="?", choices=(LIST, ADD, REMOVE), default=LIST, help="default: list")
    parser.add_argument("address", nargs="?", metavar="ADDRESS", help="the emulated phone to remove, HOST:PORT")
    parser.add_argument("--emulated", metavar="PROFILE", help="the phone to emulate, such as pixel7")
    parser.add_argument("--form", choices=("namespace", "proot", "vm"),
                        help="how to emulate it (default: the best that this machine allows)")


def handle(arguments: argparse.Namespace) -> int:
    """Carry out the action and print the phones that it is about."""
    _check(arguments)
    return {LIST: _list, ADD: _add, REMOVE: _remove}[arguments.action](arguments)


def _check(arguments: argparse.Namespace) -> None:
    """Refuse options that the action would ignore.

    Raises:
        InputError: an option is missing, or belongs to another action.
    """
    action = arguments.action
    if action != ADD and (arguments.emulated or arguments.form):
        raise InputError(f"--emulated and --form belong to `devices {ADD}`, not to `devices {action}`")
    if action != REMOVE and arguments.address:
        raise InputError(f"`devices {action}` takes no address, but got {arguments.address!r}; a phone on the network "
                         f"needs no adding: use --device HOST:PORT")
    if action == ADD and not arguments.emulated:
        from device_profiler.emulator.phone_profile import known_profiles

        raise InputError(f"`devices {ADD}` wants --emulated PROFILE; known profiles: {', '.join(known_profiles())}")
    if action == REMOVE and not arguments.address:
        raise InputError(f"`devices {REMOVE}` wants the address of an emulated phone; `devices` lists them")


def _list(arguments: argparse.Namespace) -> int:
    from device_profiler.listing import list_devices
    from pipeline.cli.output import emit

    devices = list_devices()
    emit({"devices": devices}, [_line(device) for device in devices] or ["no phone: attach one, or `devices add "
                                                                         "--emulated pixel7`"], arguments.json)
    return 0


def _add(arguments: argparse.Namespace) -> int:
    from device_profiler.emulator.phone import start_phone
    from device_profiler.listing import describe
    from pipeline.cli.output import emit

    phone = start_phone(arguments.emulated, form=arguments.form)
    device = describe(phone.address, phone)
    emit({"devices": [device]}, [_line(device), f"it lives on until `devices remove {phone.address}`"], arguments.json)
    return 0


def _remove(arguments: argparse.Namespace) -> int:
    from device_profiler.emulator.phone import stop_phone
    from pipeline.cli.output import emit

    stop_phone(arguments.address)
    emit({"removed": [arguments.address]}, [f"removed {arguments.address}"], arguments.json)
    return 0


def _line(device: ListedDevice) -> str:
    if device.problem:
        return f"{device.address:<22} {device.problem}"
    kind = f"emulated ({device.form or 'by another tool'})" if device.emulated else "attached"
    targets = ", ".join(device.targets) or "no target"
    return f"{device.address:<22} {device.model} ({device.soc}), {kind}; for {targets}; {_state(device.state)}"


def _state(state: dict[str, str]) -> str:
    told = (("battery", state.get("battery_level"), " %"), ("at", state.get("battery_temperature"), " °C"),
            ("plugged:", state.get("plugged"), ""), ("thermal status", state.get("thermal_status"), ""))
    return ", ".join(f"{name} {value}{unit}" for name, value, unit in told if value) or "state unknown"
