"""What `profile` prints for several phones: a column each, and the spread between them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from device_profiler.errors import InputError

if TYPE_CHECKING:
    from device_profiler.fleet import Fleet, PhoneResult
    from device_profiler.prediction import DeviceModel
    from device_profiler.targets import Target
    from pipeline.network import Network
    from pipeline.profiling import Profile, ProfileRequest
    from pipeline.workspace import Workspace

ALL = "all"


def add_phone_arguments(parser: argparse.ArgumentParser) -> None:
    """Which phones."""
    from pipeline.cli.store_place import add_store_argument

    group = parser.add_argument_group(
        "phones",
        "With several phones, each measures every part, all at the same time, and has a table of its own under "
        "RUN/phones/: a table whose rows came from several phones would mix their silicon and batteries.",
    )
    group.add_argument("--device", action="append", metavar="auto|SERIAL|HOST:PORT|adb-server:SERIAL|emulated",
                       help="default: auto; give it again for each further phone")
    group.add_argument("--devices", choices=(ALL,), help="every phone at hand that matches the target and is free")
    group.add_argument("--require-device", action="store_true", help="fail where only an emulated phone is at hand")
    add_store_argument(group)


def requested_devices(arguments: argparse.Namespace) -> tuple[str, ...]:
    """The values of --device, one at least; ("all",) for --devices all.

    Raises:
        InputError: both were given.
    """
    given = [arguments.device] if isinstance(arguments.device, str) else list(arguments.device or [])
    if arguments.devices and given:
        raise InputError("--devices all already means every phone: leave --device out, or name the phones by it")
    return (ALL,) if arguments.devices else tuple(given or ["auto"])


def open_fleet(requested: Sequence[str], target: Target, *, require_device: bool) -> Fleet:
    """The phones that were asked for, each under its lease; warns of those that were passed over."""
    from device_profiler.fleet import open_all, open_several
    from pipeline.cli.output import warn

    if tuple(requested) != (ALL,):
        return open_several(requested, target, require_device=require_device)
    fleet = open_all(target, require_device=require_device)
    for reason in fleet.passed_over:
        warn(f"passed over: {reason}")
    return fleet


def profile_phones(
    asked: ProfileRequest, network: Network, fleet: Fleet, model: DeviceModel | None, workspace: Workspace,
    as_json: bool,
) -> int:
    """Profile on every phone and print; 0, or the exit code of the first phone that failed."""
    from pipeline.cli.output import emit, warn
    from pipeline.costing import latency_table
    from pipeline.profiling_fleet import profile_fleet, table_place

    for device in fleet.devices:
        if device.warning:
            warn(device.warning)
    with workspace.progress.task(f"profiling parts on {len(fleet.devices)} phones", 1) as advance:
        results = profile_fleet(asked, fleet)
        advance(1, "")
    rows, lines = [], _lines(results)
    for one in results:
        row = _row(one)
        if profile := one.ended.result:
            path = table_place(workspace.run, one.device)
            table = latency_table(network.spec, profile, asked.target, model)
            table.save(path)
            row |= {"latency": str(path), "provenance": table.provenance}
            lines.append(f"latency table of {one.device.identity.address}: {path}")
        rows.append(row)
    emit({"phones": rows}, lines, as_json)
    failed = [one.ended.error for one in results if one.ended.error]
    return failed[0].exit_code if failed else 0


def _row(one: PhoneResult[Profile]) -> dict[str, object]:
    ended, identity = one.ended, one.device.identity
    row: dict[str, object] = {"address": identity.address, "model": identity.model, "outcome": ended.outcome,
                              "attempts": ended.attempts, "error": str(ended.error) if ended.error else None}
    if profile := ended.result:
        row |= {"measured": profile.measured,
                "parts": {entry: part.measurement for entry, part in profile.parts.items()},
                "reused": [entry for entry, part in profile.parts.items() if part.reused]}
    return row


def _lines(results: Sequence[PhoneResult[Profile]]) -> list[str]:
    from pipeline.durations import format_duration

    done = [(one.device.identity.address, one.ended.result) for one in results if one.ended.result]
    lines = [f"{'part':<22} " + " ".join(f"{address:>21}" for address, _ in done)] if done else []
    for entry in done[0][1].parts if done else ():
        medians = [profile.parts[entry].measurement.median_ns for _, profile in done]
        spread = max(medians) / min(medians) - 1
        cells = " ".join(f"{format_duration(median):>21}" for median in medians)
        lines.append(f"{entry:<22} {cells}{f'   spread {spread:.1%}' if len(medians) > 1 else ''}")
    failures = [f"{one.device.identity.address}: {one.ended.outcome} after {one.ended.attempts} attempts: "
                f"{one.ended.error}" for one in results if one.ended.error]
    return lines + failures
