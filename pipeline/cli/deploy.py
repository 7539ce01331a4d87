"""`deploy`: the whole way, from data to a verified bundle for one target; with --fleet for several."""

import argparse
from typing import TYPE_CHECKING

from pipeline.app_options import add_app_arguments, app_options_from
from pipeline.cli.deploy_targets import add_target_arguments, chosen_targets
from pipeline.cli.farm_place import add_farm_arguments, farm_store, refuse_local_choices
from pipeline.cli.network import (
    add_design_arguments,
    add_device_arguments,
    add_network_arguments,
    network_request,
    open_workspace,
    parse_sizes,
    quiet_vendors,
)
from pipeline.exact_search.objective import add_objective_arguments, objective_from
from pipeline.mixed_precision_options import add_mixed_precision_arguments, max_int8_drop_from
from pipeline.promise import add_promise_arguments, promise_from

if TYPE_CHECKING:
    from pipeline.deployment import Deployment, DeployRequest
    from pipeline.workspace import Workspace

HELP = "train, profile, search, export and verify: the best model for a phone, with proof"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The target, then the shared groups."""
    add_target_arguments(parser)
    add_network_arguments(parser)
    add_design_arguments(parser)
    parser.add_argument(
        "--sizes", metavar="WIDTHxHEIGHT,...", help="further input sizes: the best configuration of all is taken"
    )
    add_objective_arguments(parser)
    add_promise_arguments(parser)
    add_mixed_precision_arguments(parser)
    add_app_arguments(parser)
    add_device_arguments(parser)
    add_farm_arguments(parser)


def handle(arguments: argparse.Namespace) -> int:
    """Deploy and print the result; argument errors come before any heavy import."""
    targets = chosen_targets(arguments)
    if arguments.farm:
        refuse_local_choices(arguments, "device")
        farm_store(arguments.store)
    if arguments.fleet:
        from pipeline.cli.deploying_fleet import deploy_fleet

        return deploy_fleet(arguments, targets)
    target, objective, promise = targets[0], objective_from(arguments), promise_from(arguments)
    app, max_int8_drop = app_options_from(arguments, target), max_int8_drop_from(arguments, target)
    quiet_vendors(arguments.verbose)
    request = network_request(arguments)
    sizes = parse_sizes(arguments.sizes)
    if app.frame:
        from mobile_export.frame_size import whole_multiples

        for size in filter(None, (request.size, *sizes)):
            whole_multiples(app.frame, size)
    from pipeline.cli.output import emit
    from pipeline.cli.parser import resolved_options, write_options
    from pipeline.deploying import result_json, result_lines
    from pipeline.deployment import DeployRequest

    workspace = open_workspace(arguments, target.name)
    options = resolved_options(arguments)
    write_options(options, workspace.run / "config.toml")
    asked = DeployRequest(
        target, request, objective, promise, app, arguments.device, arguments.require_device, options, arguments.store,
        max_int8_drop, sizes,
    )
    deployment = _deployed(asked, workspace, arguments)
    emit(result_json(deployment, workspace), result_lines(deployment), arguments.json)
    return 0


def _deployed(asked: "DeployRequest", workspace: "Workspace", arguments: argparse.Namespace) -> "Deployment":
    """On a phone at hand, or on one of a farm.

    Raises: as `pipeline.deploying.deploy`.
    """
    from pipeline.deploying import deploy

    if not arguments.farm:
        return deploy(asked, workspace)
    from pipeline.cli.deploying_farm import deploy_on_farm

    return deploy_on_farm(asked, workspace, arguments.farm, arguments.credentials)
