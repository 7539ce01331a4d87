"""`targets`: the phones and units that a deployment can be made for."""

import argparse

HELP = "list the deployment targets"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No options of its own."""


def handle(arguments: argparse.Namespace) -> int:
    """Print every target with its unit, runtime, precision and where its latency can come from."""
    from device_profiler.targets import all_targets
    from pipeline.cli.output import emit

    targets = all_targets()
    lines = [f"{t.name:<12} {t.device}, {t.soc}: {t.unit} by {t.runtime} {t.precision}" for t in targets]
    emit({"targets": targets}, lines, arguments.json)
    return 0
