"""`devices`: list the phones that can be reached, start and stop emulated ones, test them and set them aside."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from device_profiler.errors import DeviceError, InputError

if TYPE_CHECKING:
    from device_profiler.listing import ListedDevice

HELP = "list phones; start (add) and stop (remove) emulated ones; self-test, quarantine and release them"
LIST, ADD, REMOVE, SELF_TEST, QUARANTINE, RELEASE = "list", "add", "remove", "self-test", "quarantine", "release"
_OF_ADD = ("emulated", "form", "count", "seed", "ambient", "start", "property")
MOST_PHONES = 64
_WITH_ADDRESS = {
    REMOVE: "the address of an emulated phone",
    SELF_TEST: "the phone to test",
    QUARANTINE: "the phone to set aside",
    RELEASE: "the phone to take back",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`devices [ACTION] [ADDRESS] [options]`."""
    parser.add_argument(
        "action", nargs="?", choices=(LIST, ADD, *_WITH_ADDRESS), default=LIST,
        help="default: list. self-test tries what measurements lean on: a phone that passes is taken back, one that "
        "fails is set aside, as one is after 3 infrastructure faults in a row; release is a self-test, by its purpose",
    )
    parser.add_argument("address", nargs="?", metavar="ADDRESS", help="SERIAL, HOST:PORT or adb-server:SERIAL")
    parser.add_argument("--emulated", metavar="PROFILE",
                        help="add: the phone to emulate, such as pixel7, or a file PHONE.toml of one")
    parser.add_argument("--count", type=int, metavar="N", help="add: so many of them, side by side (default: 1)")
    parser.add_argument("--seed", type=int, metavar="N", help="add: disturb the clock by noise, drift and breaks "
                        "that follow from this number (further phones: the numbers after it); otherwise it is steady")
    parser.add_argument("--ambient", type=float, metavar="CELSIUS",
                        help="add: let work heat the phone, and heat slow it down; the temperature around it")
    parser.add_argument("--start", type=float, metavar="CELSIUS",
                        help="add: likewise; the temperature that it starts with (default: that around it)")
    parser.add_argument("--property", action="append", default=[], metavar="KEY=VALUE",
                        help="add: what getprop says instead of the profile's value; may be repeated")
    parser.add_argument("--form", choices=("namespace", "proot", "vm"),
                        help="add: how to emulate it (default: the best that this machine allows)")
    parser.add_argument("--reason", metavar="TEXT", help="quarantine: why, for whoever wants to use the phone")


def handle(arguments: argparse.Namespace) -> int:
    """Carry out the action and print the phones that it is about."""
    _check(arguments)
    actions = {LIST: _list, ADD: _add, REMOVE: _remove, SELF_TEST: _self_test, QUARANTINE: _quarantine,
               RELEASE: _self_test}
    return actions[arguments.action](arguments)


def _check(arguments: argparse.Namespace) -> None:
    """Refuse options that the action would ignore.

    Raises:
        InputError: an option is missing, or belongs to another action.
    """
    action = arguments.action
    if action != ADD and (foreign := [name for name in _OF_ADD if getattr(arguments, name) not in (None, [])]):
        raise InputError(f"--{foreign[0]} belongs to `devices {ADD}`, not to `devices {action}`")
    if arguments.count is not None and not 1 <= arguments.count <= MOST_PHONES:
        raise InputError(f"--count is 1 to {MOST_PHONES} phones, not {arguments.count}")
    if action != QUARANTINE and arguments.reason:
        raise InputError(f"--reason belongs to `devices {QUARANTINE}`, not to `devices {action}`")
    if action not in _WITH_ADDRESS and arguments.address:
        raise InputError(f"`devices {action}` takes no address, but got {arguments.address!r}; a phone on the network "
                         f"needs no adding: use --device HOST:PORT")
    if action == ADD and not arguments.emulated:
        from device_profiler.emulator.phone_profile import known_profiles

        raise InputError(f"`devices {ADD}` wants --emulated PROFILE; known profiles: {', '.join(known_profiles())}")
    if action in _WITH_ADDRESS and not arguments.address:
        raise InputError(f"`devices {action}` wants {_WITH_ADDRESS[action]}; `devices` lists them")
    if action == QUARANTINE and not arguments.reason:
        raise InputError(f"`devices {QUARANTINE}` wants --reason TEXT: others will ask why the phone is set aside")


def _list(arguments: argparse.Namespace) -> int:
    from device_profiler.listing import list_devices
    from pipeline.cli.output import emit

    devices = list_devices()
    emit({"devices": devices}, [_line(device) for device in devices] or ["no phone: attach one, or `devices add "
                                                                         "--emulated pixel7`"], arguments.json)
    return 0


def _add(arguments: argparse.Namespace) -> int:
    from device_profiler.emulator.phone import start_phone
    from device_profiler.emulator.phone_profile import load_profile
    from device_profiler.emulator.weather import make_weather
    from device_profiler.listing import describe
    from pipeline.cli.output import emit

    profile = load_profile(arguments.emulated, _properties(arguments.property))
    devices = []
    for number in range(arguments.count or 1):
        seed = None if arguments.seed is None else arguments.seed + number
        weather = make_weather(profile, seed=seed, ambient_c=arguments.ambient, start_c=arguments.start)
        phone = start_phone(profile, form=arguments.form, weather=weather)
        devices.append(describe(phone.address, phone))
    lines = [line for device in devices for line in
             (_line(device), f"it lives on until `devices remove {device.address}`")]
    emit({"devices": devices}, lines, arguments.json)
    return 0


def _properties(given: list[str]) -> dict[str, str]:
    """Raises InputError for what is not KEY=VALUE."""
    pairs = [item.partition("=") for item in given]
    for item, (key, sign, _) in zip(given, pairs, strict=True):
        if not (key and sign) or any(character.isspace() for character in key):
            raise InputError(f"--property {item!r} is not KEY=VALUE, as in ro.product.model=Pixel 7a")
    return {key: value for key, _, value in pairs}


def _remove(arguments: argparse.Namespace) -> int:
    from device_profiler.emulator.phone import stop_phone
    from pipeline.cli.output import emit

    stop_phone(arguments.address)
    emit({"removed": [arguments.address]}, [f"removed {arguments.address}"], arguments.json)
    return 0


def _self_test(arguments: argparse.Namespace) -> int:
    from device_profiler.self_test import self_test
    from pipeline.cli.output import emit

    done = self_test(arguments.address)
    lines = [f"{'passed' if check.passed else 'FAILED'}  {check.name:<10} {check.told}" for check in done.checks]
    verdict = "it is in use" if done.passed else f"it is set aside: {done.quarantined}"
    emit(done, [*lines, f"{done.address} ({done.model}): {verdict}"], arguments.json)
    return 0 if done.passed else DeviceError.exit_code


def _quarantine(arguments: argparse.Namespace) -> int:
    from device_profiler.device import connect_device
    from device_profiler.standing import quarantine
    from pipeline.cli.output import emit

    with connect_device(arguments.address) as device:
        standing = quarantine(device.key, arguments.reason)
    told = f"{arguments.address} is set aside since {standing.since}: {standing.quarantined}"
    emit({"quarantined": [arguments.address], "reason": standing.quarantined, "since": standing.since},
         [told, f"`devices {RELEASE} {arguments.address}` takes it back once it passes its self-test"], arguments.json)
    return 0


def _line(device: ListedDevice) -> str:
    if device.problem:
        return f"{device.address:<22} {device.problem}"
    kind = f"emulated ({device.form or 'by another tool'})" if device.emulated else "attached"
    targets = ", ".join(device.targets) or "no target"
    return f"{device.address:<22} {device.model} ({device.soc}), {kind}; for {targets}; {_use(device)}"


def _use(device: ListedDevice) -> str:
    """Free, or who has it, or why it is set aside; with the phone's state where that was asked for."""
    if device.quarantined:
        return f"quarantined: {device.quarantined}"
    if device.leased_by:
        return f"leased by {device.leased_by}"
    return f"free; {_state(device.state)}"


def _state(state: dict[str, str]) -> str:
    told = (("battery", state.get("battery_level"), " %"), ("at", state.get("battery_temperature"), " °C"),
            ("plugged:", state.get("plugged"), ""), ("thermal status", state.get("thermal_status"), ""))
    return ", ".join(f"{name} {value}{unit}" for name, value, unit in told if value) or "state unknown"
