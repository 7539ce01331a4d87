"""`train`: both stages, to a checkpoint; or one machine's share of a training."""

import argparse
import re
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from device_profiler.errors import InputError
from pipeline.cli.network import (
    add_design_arguments,
    add_network_arguments,
    network_request,
    open_workspace,
    quiet_vendors,
)
from pipeline.launched import rank

if TYPE_CHECKING:
    from pipeline.network import SharedTraining

HELP = "train the multi-exit network (resumes where it was broken off)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Data, network, design, curves, share."""
    add_network_arguments(parser)
    add_design_arguments(parser)
    parser.add_argument("--tensorboard", action="store_true", help="write curves to the run folder's tensorboard/")
    group = parser.add_argument_group("several machines")
    group.add_argument("--share", metavar="backbone|K/N",
                       help="train this alone: the backbone first, then on each machine one of N groups of heads")
    group.add_argument("--together", type=Path, metavar="FOLDER", help="where all of these machines read and write")


def handle(arguments: argparse.Namespace) -> int:
    """Train and print where the checkpoint is, or what is still to train."""
    shared = _shared(arguments)
    quiet_vendors(arguments.verbose)
    request, workspace = network_request(arguments), open_workspace(arguments, "train")
    from pipeline.cli.output import emit
    from pipeline.network import obtain_checkpoint, prepare_network
    from pipeline.training.log import TensorBoardLog
    from pipeline.training.run import UnfinishedTraining

    network = prepare_network(request, workspace)
    with ExitStack() as stack:
        log = None
        if arguments.tensorboard and not rank():  # of several processes the first one writes
            log = stack.enter_context(TensorBoardLog(workspace.run / "tensorboard"))
        try:
            checkpoint = obtain_checkpoint(network, workspace, log, shared)
        except UnfinishedTraining as unfinished:
            emit({"checkpoint": None, "share": str(arguments.share), "missing": unfinished.missing},
                 [str(unfinished)], arguments.json)
            return 0
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


def _shared(arguments: argparse.Namespace) -> "SharedTraining | None":
    """This machine's share of a training, None where it trains all of it.

    Raises:
        InputError: --share and --together are not both there, or the share is none.
    """
    text, folder = arguments.share, arguments.together
    if text is None and folder is None:
        return None
    if text is None or folder is None:
        raise InputError("--share and --together belong together: --share 2/4 --together FOLDER trains the second of "
                         "four groups of heads in a folder that all machines see")
    numbers = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", text)
    if text != "backbone" and (not numbers or int(numbers[1]) > int(numbers[2])):
        raise InputError(f"--share {text} is no share: write backbone, or K/N with K from 1 to N, as in 2/4")
    from pipeline.network import SharedTraining
    from pipeline.training.run import BACKBONE, Share

    return SharedTraining(Share(int(numbers[1]), int(numbers[2])) if numbers else BACKBONE, folder)
