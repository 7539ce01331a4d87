"""`deploy --fleet`: every option is held against every target first; then one run for all of them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pipeline.app_options import app_options_from
from pipeline.cli.fleet_phones import phones_multiply, without_phone
from pipeline.exact_search.objective import objective_from
from pipeline.mixed_precision_options import RUNTIMES, max_int8_drop_from
from pipeline.promise import promise_from

if TYPE_CHECKING:
    from collections.abc import Sequence

    from device_profiler.targets import Target
    from pipeline.fleet.deploying import FleetDeployment


def deploy_fleet(arguments: argparse.Namespace, targets: Sequence[Target]) -> int:
    """Deploy to every target and print; 0, or the exit code of the first target that failed.

    Raises:
        PipelineError: what stops all of them: bad options, data or checkpoint; no phone for any target.
    """
    from pipeline.cli.network import network_request, open_workspace, parse_sizes, quiet_vendors

    objective_from(arguments)
    sizes = parse_sizes(arguments.sizes)
    promise, mixed = promise_from(arguments), _mixed(arguments, targets)
    for target in targets:
        app_options_from(arguments, target)
    absent = without_phone(arguments, targets)
    quiet_vendors(arguments.verbose)
    request = network_request(arguments)
    from pipeline.cli.output import emit, say
    from pipeline.cli.parser import resolved_options, write_options
    from pipeline.fleet.deploying import FleetRequest, deploy_all

    workspace = open_workspace(arguments, "fleet")
    options = resolved_options(arguments)
    write_options(options, workspace.run / "config.toml")
    asked = FleetRequest(tuple(targets), request, promise, options, absent, phones_multiply(arguments), mixed,
                         sizes, arguments.verbose)
    fleet = deploy_all(asked, workspace)
    emit(_result(fleet), _lines(fleet), arguments.json)
    for failed in fleet.index.failed:
        say(f"error: {failed.target}: {failed.error}")
    return fleet.index.failed[0].exit_code if fleet.index.failed else 0


def _mixed(arguments: argparse.Namespace, targets: Sequence[Target]) -> tuple[str, ...]:
    """The targets that --max-int8-drop is for: of a fleet, those in int8.

    Raises:
        InputError: no drop, or one that none of the targets takes.
    """
    takers = [target for target in targets if target.precision == "int8" and target.runtime in RUNTIMES]
    for target in takers or targets:
        max_int8_drop_from(arguments, target)
    return tuple(target.name for target in takers)


def _result(fleet: FleetDeployment) -> dict[str, object]:
    """The index's content plus the run folder, the comparison page, the AI pack and what each target reused."""
    import msgspec

    return {
        **msgspec.to_builtins(fleet.index),
        "run": str(fleet.run),
        "comparison": str(fleet.comparison) if fleet.comparison else None,
        "ai_pack": str(fleet.ai_pack) if fleet.ai_pack else None,
        "reused": {ended.target.name: [vars(reuse) for reuse in ended.reused] for ended in fleet.ended},
    }


def _lines(fleet: FleetDeployment) -> list[str]:
    """A line a target, then who gets what, then where it lies."""
    from pipeline.durations import format_duration

    index = fleet.index
    bundles = [bundle for soc in index.socs for bundle in soc.bundles]
    width = max((len(bundle.target) for bundle in bundles), default=0)
    lines = [f"fleet: {len(bundles)} of {len(fleet.ended)} targets deployed from checkpoint {index.checkpoint[:12]}"]
    for bundle in bundles:
        lines.append(
            f"  {bundle.target:<{width}}  {format_duration(bundle.expected.value_ns)} expected, "
            f"{format_duration(bundle.worst.value_ns)} at worst ({bundle.expected.provenance}); "
            f"mIoU {bundle.miou:.4f}; {bundle.size_bytes / 1e6:.1f} MB; {fleet.run / bundle.bundle}"
        )
    lines += [f"  {soc.soc} gets {soc.default}" for soc in index.socs]
    if bundles:
        lines.append(f"  other SoCs get {index.fallback or 'nothing: no CPU target was deployed'}")
    places = (("index", fleet.run / "index.json"), ("compare", fleet.comparison), ("AI pack", fleet.ai_pack))
    return [*lines, *(f"  {name:<8} {path}" for name, path in places if path)]
