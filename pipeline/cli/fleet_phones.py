"""Where a fleet's phones are, here or on a farm, and which targets have none: told before anything is trained."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from device_profiler.errors import PipelineError

if TYPE_CHECKING:
    from device_profiler.targets import Target


def without_phone(arguments: argparse.Namespace, targets: Sequence[Target]) -> dict[str, PipelineError]:
    """By name: the targets that no phone serves, each with the reason.

    Raises:
        PipelineError: none of them has one, or the farm can't be reached.
    """
    absent = _not_offered(arguments, targets) if arguments.farm else _not_here(arguments, targets)
    if len(absent) == len(targets):
        raise absent[targets[0].name]
    return absent


def phones_multiply(arguments: argparse.Namespace) -> bool:
    """Whether several targets of one kind of phone may be deployed at the same time: each has an emulated phone of its
    own, or a farm hands its phones out a job at a time."""
    from device_profiler.device import AUTO, EMULATED, attached_phones

    return bool(arguments.farm) or arguments.device == EMULATED or (arguments.device == AUTO and not attached_phones())


def _not_here(arguments: argparse.Namespace, targets: Sequence[Target]) -> dict[str, PipelineError]:
    from device_profiler.device import open_device
    from device_profiler.errors import UnavailableError

    def look(target: Target) -> None:
        if target.emulated is None or arguments.require_device:
            try:
                open_device(arguments.device, target, require_device=arguments.require_device).close()
            except UnavailableError:
                return  # somebody works on it: it may be free when its turn comes

    return _refused(targets, look)


def _not_offered(arguments: argparse.Namespace, targets: Sequence[Target]) -> dict[str, PipelineError]:
    from pipeline.cli.farm_place import open_farm

    with open_farm(arguments.farm, arguments.credentials) as farm:
        return _refused(targets, lambda target: farm.check_offered(
            target, real=farm.prefers_real(target, required=arguments.require_device)
        ))  # fmt: skip


def _refused(targets: Sequence[Target], look: Callable[[Target], None]) -> dict[str, PipelineError]:
    found = {}
    for target in targets:
        try:
            look(target)
        except PipelineError as error:
            found[target.name] = error
    return found
