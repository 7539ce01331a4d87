"""`targets`: phones and their units, what reaches each of them, and why nothing reaches some."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from device_profiler.targets import Target

HELP = "list the deployment targets"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No options of its own."""


def handle(arguments: argparse.Namespace) -> int:
    """Print every target with its unit, runtime, precision and where its latency can come from."""
    from device_profiler.targets import all_targets, unreached_units
    from pipeline.cli.output import emit

    targets, unreached = all_targets(), unreached_units()
    names = max(len(name) for name in [t.name for t in targets] + [u.name for u in unreached])
    lines = [
        f"{t.name:<{names}}  {t.device}, {t.soc}: {t.unit} by {t.runtime} {t.precision}; {_latency(t)}" for t in targets
    ]
    reasons = sorted({t.untimed for t in targets if t.untimed})
    notes = [f"export only: {reason}" for reason in reasons]
    absent = [f"{u.name:<{names}}  {u.device}, {u.soc}: nothing reaches its {u.unit}: {u.why}" for u in unreached]
    emit({"targets": targets, "unreached": unreached}, [*lines, *absent, "", *notes], arguments.json)
    return 0


def _latency(target: "Target") -> str:
    if target.untimed:
        return "export only"
    stand_in = "predicted" if target.device_model else "emulated" if target.emulated else "none without the phone"
    return f"latency measured on the phone, else {stand_in}"
