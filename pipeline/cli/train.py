"""`train`: both stages, to a checkpoint."""

import argparse
from contextlib import ExitStack

from pipeline.cli.network import (
    add_design_arguments,
    add_network_arguments,
    network_request,
    open_workspace,
    quiet_vendors,
)

HELP = "train the multi-exit network (resumes where it was broken off)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Data, network, design, curves."""
    add_network_arguments(parser)
    add_design_arguments(parser)
    parser.add_argument("--tensorboard", action="store_true", help="write curves to the run folder's tensorboard/")


def handle(arguments: argparse.Namespace) -> int:
    """Train and print where the checkpoint is."""
    quiet_vendors(arguments.verbose)
    request, workspace = network_request(arguments), open_workspace(arguments, "train")
    from pipeline.cli.output import emit
    from pipeline.network import obtain_checkpoint, prepare_network
    from pipeline.training.log import TensorBoardLog

    network = prepare_network(request, workspace)
    with ExitStack() as stack:
        log = stack.enter_context(TensorBoardLog(workspace.run / "tensorboard")) if arguments.tensorboard else None
        checkpoint = obtain_checkpoint(network, workspace, log)
    folder = workspace.run / "checkpoint"
    result = {
        "checkpoint": str(folder),
        "weights_sha256": checkpoint.description.weights_sha256,
        "spec": checkpoint.spec,
        "training": checkpoint.description.training,
        "reused": [vars(reuse) for reuse in workspace.reused],
    }
    emit(result, [f"checkpoint: {folder}"], arguments.json)
    return 0
