"""`profile --sustained`: one part of a network without a pause, and how its latency develops as the phone heats up."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from device_profiler.errors import InputError

if TYPE_CHECKING:
    from device_profiler.sustained import ThrottlingCurve
    from device_profiler.targets import Target
    from pipeline.network import Network
    from pipeline.workspace import Workspace

_ROWS, _BAR = 12, 40


def profile_sustained(
    arguments: argparse.Namespace,
    network: Network,
    target: Target,
    workspace: Workspace,
    requested: Sequence[str],
    seconds: int,
) -> int:
    """Run it, write sustained.json, draw the curve.

    Raises:
        InputError: several phones, or a part that the network lacks.
    """
    import msgspec

    from device_profiler.device import open_device
    from device_profiler.files import write_atomic
    from device_profiler.sustained import measure_sustained
    from device_profiler.workload import Workload
    from pipeline.cli.output import emit, warn
    from pipeline.profiling import ProfileRequest, export_parts, plan_parts
    from pipeline.run_report.throttling import CURVE_NAME

    if len(requested) > 1 or requested[0] == "all":
        raise InputError("--sustained runs on one phone: name it by --device")
    with open_device(requested[0], target, require_device=arguments.require_device) as device:
        if device.warning:
            warn(device.warning)
        parts = plan_parts(ProfileRequest(network.spec, network.policy, target, device.identity.address))
        entries = [_known(arguments.part, list(parts.programs))] if arguments.part else parts.missing({})
        exported = export_parts(parts, entries)
        works = [
            Workload(exported.structures[entry], exported.calls[entry], exported.artifact.entry(entry).operators)
            for entry in entries
        ]
        with workspace.progress.task(f"sustained run of {seconds} s on the phone", 1) as advance:
            most = max(works, key=lambda work: work.macs)
            curve = measure_sustained(device, target, exported.file, most, seconds)
            advance(1, "")
    path = workspace.run / CURVE_NAME
    write_atomic(path, msgspec.json.encode(curve))
    emit({"sustained": str(path), "slowdown": curve.slowdown, "burst_ns": curve.burst_ns,
          "sustained_ns": curve.sustained_ns, "curve": curve}, [*_drawn(curve), f"curve: {path}"], arguments.json)
    return 0


def _known(part: str, entries: list[str]) -> str:
    if part not in entries:
        raise InputError(f"the network has no part {part!r}; it has: {', '.join(entries)}")
    return part


def _drawn(curve: ThrottlingCurve) -> list[str]:
    """A few rows of the curve with bars, and what it comes to."""
    from pipeline.durations import format_duration

    rows = [curve.windows[len(curve.windows) * n // _ROWS] for n in range(min(_ROWS, len(curve.windows)))]
    slowest = max(window.median_ns for window in rows)
    bars = ["#" * round(_BAR * window.median_ns / slowest) for window in rows]
    lines = [
        f"{window.start_s:>8.1f} s  {format_duration(window.median_ns):>10}  {bar}"
        for window, bar in zip(rows, bars, strict=True)
    ]
    status = [state.get("thermal_status", "unknown") for state in (curve.state_before, curve.state_after)]
    heat = f"thermal status {status[0]} before, {status[1]} after"
    told = (
        f"{curve.entry}: {format_duration(curve.burst_ns)} at first, {format_duration(curve.sustained_ns)} sustained "
        f"({curve.slowdown:.2f} times), {curve.provenance}; {heat}"
    )
    return [*lines, told, *([curve.note] if curve.note else [])]
