"""`evaluate`: every exit and head of a checkpoint on one split."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.cli.farm_place import add_farm_arguments
from pipeline.cli.network import add_network_arguments, network_request, open_workspace, policy_name, quiet_vendors
from pipeline.launched import processes, rank

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.exit_statistics import ExitStatistics
    from pipeline.model import MultiExitModel
    from pipeline.network import Network
    from pipeline.workspace import Workspace

HELP = "accuracy and cost of every exit and head of a checkpoint"
SPLITS = ("train", "search", "certify", "test")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Data, checkpoint, split, policies."""
    add_network_arguments(parser)
    parser.add_argument("--policy", type=policy_name, action="append", metavar="NAME",
                        help="exit policy (default: mean); repeated, statistics-<policy>.npz is written for each")
    parser.add_argument("--split", choices=SPLITS, default="test", help="default: test")
    add_farm_arguments(parser, "evaluate on the hosts of the farm with this scheduler")


def handle(arguments: argparse.Namespace) -> int:
    """Evaluate, write statistics.npz into the run folder, print a row for every exit and head."""
    from device_profiler.errors import InputError

    if arguments.checkpoint is None:
        raise InputError("--checkpoint is needed: a folder that `train` or `deploy` wrote, as runs/train/checkpoint")
    if arguments.farm and processes() > 1:
        raise InputError(f"--farm was given to {processes()} processes of a launcher: a farm evaluates by its own "
                         "hosts, so leave out either the launcher or --farm")
    quiet_vendors(arguments.verbose)
    request, workspace = network_request(arguments), open_workspace(arguments, "evaluate")
    from pipeline.cli.output import emit
    from pipeline.evaluation import majority_guess, summarise
    from pipeline.network import prepare_network, trained_model

    network = prepare_network(request, workspace)
    assert network.checkpoint is not None
    model = trained_model(network.checkpoint)
    policies = arguments.policy or [network.policy]
    networks = [replace(network, policy=policy) for policy in policies]
    found = _evaluated(networks, model, arguments, workspace)
    statistics = found[0]
    if not rank():
        for policy, one in zip(policies[1:], found[1:], strict=True):
            one.save(workspace.run / f"statistics-{policy.replace(':', '-').replace('+', '-')}.npz")
        statistics.save(workspace.run / "statistics.npz")
    split, classes = network.source.split(arguments.split), network.source.classes
    guess = majority_guess(network.source.train, split, len(classes.names), classes.ignore)
    report = summarise(model, statistics, split, guess)
    rows = [
        f"{row.exit}  {row.head:<10} mIoU {row.miou:.4f}  {row.macs / 1e6:8.1f} M multiply-adds"
        f"{'  (full network)' if row.reference else ''}"
        for row in report.exits
    ]
    head = f"{report.split} split, {report.images} images; majority guess: mIoU {guess:.4f}"
    emit(report, [head, *rows], arguments.json)
    return 0


def _evaluated(
    networks: Sequence["Network"], model: "MultiExitModel", arguments: argparse.Namespace, workspace: "Workspace"
) -> list["ExitStatistics"]:
    """Statistics of one split under each network's policy, computed here or by a farm.

    Raises:
        PipelineError: what stopped a host of the farm, as if it had happened here.
    """
    from pipeline.network import kept_statistics, policy_statistics

    if not arguments.farm:
        if processes() > 1:
            return list(map(_launched(model, arguments, workspace), networks))
        checkpoint = networks[0].checkpoint
        assert checkpoint is not None
        return policy_statistics(networks, checkpoint, model, arguments.split, workspace)
    from pipeline.cli.farm_place import open_farm

    with open_farm(arguments.farm, arguments.credentials) as farm:
        from pipeline.farm.evaluating import evaluate_on_farm

        def there(network: "Network") -> "ExitStatistics":
            checkpoint, source = network.checkpoint, network.source
            assert checkpoint is not None
            return kept_statistics(
                network, checkpoint, arguments.split, workspace,
                lambda: evaluate_on_farm(farm, checkpoint, source.split(arguments.split), workspace.progress,
                                         ignore=source.classes.ignore, policy=network.policy),
            )

        return [there(network) for network in networks]


def _launched(
    model: "MultiExitModel", arguments: argparse.Namespace, workspace: "Workspace"
) -> "Callable[[Network], ExitStatistics]":
    """Evaluation shared by the processes of a launcher."""
    from pipeline.launched_evaluation import Launched
    from pipeline.network import kept_statistics

    launched = Launched()

    def evaluated(network: "Network") -> "ExitStatistics":
        checkpoint, source = network.checkpoint, network.source
        assert checkpoint is not None
        return kept_statistics(
            network, checkpoint, arguments.split, workspace,
            lambda: launched.evaluate(model, source.split(arguments.split), workspace.progress,
                                      ignore=source.classes.ignore, policy=network.policy),
            launched.all_have,
        )

    return evaluated
