"""`export`: one configuration of a checkpoint for one target, held against eager PyTorch."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.cli.network import add_network_arguments, network_request, open_workspace, policy_name, quiet_vendors
from pipeline.mixed_precision_options import add_mixed_precision_arguments, max_int8_drop_from

if TYPE_CHECKING:
    from mobile_export.artifact import Artifact
    from mobile_export.manifest import MixedPrecision

HELP = "export one configuration of a checkpoint, checked against eager PyTorch"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Target, checkpoint and the configuration, as `search` prints it."""
    parser.add_argument("--target", required=True, metavar="NAME", help="see `python -m pipeline targets`")
    add_network_arguments(parser)
    add_mixed_precision_arguments(parser)
    group = parser.add_argument_group("configuration", "as `search` prints it")
    group.add_argument("--exits", required=True, metavar="N,...", help="exits from 0, in depth order, as in 2,5")
    group.add_argument("--heads", required=True, metavar="NAME,...", help="a head for each, as in fcn-r1,lraspp-r1")
    group.add_argument("--thresholds", default="", metavar="T,...", help="one for each exit but the last, as in 0.83")
    group.add_argument("--policy", type=policy_name, metavar="NAME",
                       help="exit policy that the thresholds are of (default: mean)")


def handle(arguments: argparse.Namespace) -> int:
    """Export, check, and copy the artifact and its record into the run folder's export/."""
    from device_profiler.errors import InputError
    from device_profiler.targets import find_target

    target = find_target(arguments.target)
    max_int8_drop = max_int8_drop_from(arguments, target)
    if arguments.checkpoint is None:
        raise InputError("--checkpoint is needed: a folder that `train` or `deploy` wrote, as runs/train/checkpoint")
    exits = tuple(int(_number(word, int)) for word in arguments.exits.split(","))
    thresholds = tuple(float(_number(word, float)) for word in arguments.thresholds.split(",") if word)
    quiet_vendors(arguments.verbose)
    request = replace(network_request(arguments), policy=arguments.policy)
    workspace = open_workspace(arguments, target.name)
    from pipeline.cli.output import emit
    from pipeline.exact_search.configuration import Configuration
    from pipeline.mixed_precision import mixed_precision
    from pipeline.network import prepare_network, trained_model
    from pipeline.shipping import RECORD, Bench, check_configuration

    heads = tuple(arguments.heads.split(","))
    configuration = Configuration("adaptive" if len(exits) > 1 else "budgeted", exits, heads, thresholds)
    network = prepare_network(request, workspace)
    assert network.checkpoint is not None
    check_configuration(network.spec, configuration)
    source, model, mixed = network.source, trained_model(network.checkpoint), None
    if max_int8_drop is not None:
        mixed = mixed_precision(network, network.checkpoint, model, max_int8_drop, workspace)
    bench = Bench(
        model,
        network.checkpoint,
        network.policy,
        target,
        source.train,
        source.test,
        workspace,
        float_layers=mixed.names if mixed else (),
    )
    shipment = bench.ship(configuration)
    folder = workspace.publish_files(shipment.file.parent, "export", (shipment.file.name, RECORD))
    result = {"artifact": shipment.artifact, "plan": shipment.plan, "folder": str(folder), "mixed_precision": mixed}
    emit(result, [*_told(shipment.artifact, mixed), f"artifact: {folder / shipment.file.name}"], arguments.json)
    return 0


def _told(artifact: Artifact, mixed: MixedPrecision | None) -> list[str]:
    from pipeline.mixed_precision import mixed_precision_lines

    parity = artifact.parity
    assert parity is not None
    lines = [
        f"{row.entry}.{row.output}: largest error {row.max_abs_error:.3g}"
        + ("" if row.label_agreement is None else f", labels agree {row.label_agreement:.4f}")
        for row in parity.outputs
    ]
    lines += mixed_precision_lines(mixed) if mixed else []
    lines.append(f"checked by {parity.checked_by}" if parity.passed else f"NOT verified, {parity.not_runnable}")
    return lines


def _number(word: str, kind: type[int] | type[float]) -> float | int:
    from device_profiler.errors import InputError

    try:
        return kind(word)
    except ValueError:
        raise InputError(f"{word!r} is no number: write exits as 2,5 and thresholds as 0.83,0.9") from None
