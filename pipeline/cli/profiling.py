"""`profile`: latency of every part of a network on a phone."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from device_profiler.errors import InputError
from pipeline.cli.farm_place import add_farm_arguments
from pipeline.cli.network import (
    add_design_arguments,
    add_network_arguments,
    network_request,
    open_workspace,
    quiet_vendors,
)
from pipeline.cli.profiling_phones import ALL, add_phone_arguments, open_fleet, profile_phones, requested_devices
from pipeline.durations import parse_span

if TYPE_CHECKING:
    from device_profiler.benchmark_tool import BenchmarkTool
    from device_profiler.prediction import DeviceModel
    from device_profiler.targets import Target
    from pipeline.network import Network
    from pipeline.profiling import Profile
    from pipeline.workspace import Workspace

HELP = "latency of every part of a network on a phone: latency.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Target, network, phone."""
    parser.add_argument("--target", required=True, metavar="NAME", help="see `python -m pipeline targets`")
    add_network_arguments(parser)
    add_design_arguments(parser)
    add_phone_arguments(parser)
    add_farm_arguments(parser)
    parser.add_argument("--tool", type=Path, metavar="PATH",
                        help="measure with LiteRT's benchmark_model (android_aarch64), which reaches NPUs by NNAPI")
    parser.add_argument("--sustained", metavar="SPAN",
                        help="instead: one part without a pause for so long (20min), from a cool phone on: "
                        "the throttling curve, to RUN/sustained.json")
    parser.add_argument("--part", metavar="ENTRY", help="with --sustained: which (default: the one with most work)")
    parser.add_argument("--allow-fallback", action="store_true", help="with --tool: keep figures that the target's "
                        "unit did not give alone, under the name of what ran (otherwise exit code 5)")


def handle(arguments: argparse.Namespace) -> int:
    """Run what the store lacks, write latency.json, print a row for every part."""
    from device_profiler.targets import find_target, timed_target

    target = find_target(arguments.target) if arguments.tool else timed_target(arguments.target)
    tool, requested = _tool(arguments.tool, target), requested_devices(arguments)
    seconds = _span(arguments)
    if arguments.farm:
        from pipeline.cli.profiling_farm import profile_on_farm

        return profile_on_farm(arguments, target)
    quiet_vendors(arguments.verbose)
    request, workspace = network_request(arguments), open_workspace(arguments, target.name)
    from device_profiler.device import open_device
    from device_profiler.prediction import load_model
    from device_profiler.store import Store
    from pipeline.cli.output import warn
    from pipeline.network import prepare_network
    from pipeline.profiling import ProfileRequest, profile_parts

    network = prepare_network(request, workspace)
    model = load_model(target.device_model) if target.device_model and not tool else None
    if seconds is not None:
        from pipeline.cli.profiling_sustained import profile_sustained

        return profile_sustained(arguments, network, target, workspace, requested, seconds)
    if requested == (ALL,) or len(requested) > 1:
        asked = ProfileRequest(network.spec, network.policy, target, "", store=arguments.store, tool=tool,
                               allow_fallback=arguments.allow_fallback)
        with open_fleet(requested, target, require_device=arguments.require_device) as fleet:
            return profile_phones(asked, network, fleet, model, workspace, arguments.json)
    with open_device(requested[0], target, require_device=arguments.require_device) as device, Store(
        arguments.store
    ) as store:
        if device.warning:
            warn(device.warning)
        asked = ProfileRequest(network.spec, network.policy, target, device.identity.address, tool=tool,
                               allow_fallback=arguments.allow_fallback)
        with workspace.progress.task("profiling parts on the phone", 1) as advance:
            profile = profile_parts(asked, device, store)
            advance(1, "")
    return tell_profile(network, profile, target, model, workspace, arguments.json)


def tell_profile(
    network: "Network", profile: "Profile", target: "Target", model: "DeviceModel | None", workspace: "Workspace",
    as_json: bool,
) -> int:
    """Write latency.json of the run, print a row for every part; 0."""
    from pipeline.cli.output import emit
    from pipeline.costing import latency_table
    from pipeline.durations import format_duration

    table = latency_table(network.spec, profile, target, model)
    path = workspace.run / "latency.json"
    table.save(path)
    result = {
        "latency": str(path),
        "provenance": table.provenance,
        "measured": profile.measured,
        "parts": {entry: part.measurement for entry, part in profile.parts.items()},
        "reused": [entry for entry, part in profile.parts.items() if part.reused],
    }
    lines = [
        f"{entry:<22} {format_duration(part.measurement.median_ns):>10}  {part.measurement.provenance}"
        f"{f'  {part.measurement.verdict}' if part.measurement.verdict else ''}"
        f"{'  (from the store)' if part.reused else ''}"
        for entry, part in profile.parts.items()
    ]
    emit(result, [*lines, f"latency table: {path}"], as_json)
    return 0


def _tool(path: Path | None, target: "Target") -> "BenchmarkTool | None":
    """The benchmark_model that was given, checked before anything long begins."""
    if path is None:
        return None
    from device_profiler.benchmark_tool import check_reach, find_tool

    check_reach(target)
    return find_tool(path)


def _span(arguments: argparse.Namespace) -> int | None:
    """Seconds of a sustained run, or None.

    Raises:
        InputError: no span, or options that don't go with it.
    """
    if arguments.sustained is None:
        if arguments.part:
            raise InputError("--part belongs to --sustained SPAN: all parts are measured otherwise")
        return None
    if arguments.tool:
        raise InputError("--sustained runs our own runner: leave --tool out")
    return parse_span(arguments.sustained)
