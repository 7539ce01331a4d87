"""`--target`, once or several times, and `--fleet`: which targets a `deploy` is for."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from device_profiler.targets import Target

FROM_ANY_PHONE = ("auto", "emulated")
"""Values of --device that stand for a phone of whatever target."""


class _Repeated(argparse._AppendAction):
    """One target stays a text, as the config.toml of one deployment has it; several are a list."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace,
                 values: str | Sequence[object] | None, option_string: str | None = None) -> None:
        given = getattr(namespace, self.dest)
        earlier = [given] if isinstance(given, str) else given
        setattr(namespace, self.dest, [*earlier, values] if earlier else values)


def add_target_arguments(parser: argparse.ArgumentParser) -> None:
    """Read them with `chosen_targets`."""
    parser.add_argument("--target", action=_Repeated, required=True, metavar="NAME",
                        help="see `python -m pipeline targets`; with --fleet give it again for each further target")
    parser.add_argument("--fleet", action="store_true",
                        help="one checkpoint for every --target: a bundle each, an index of the bundles by SoC, one "
                             "comparison page, a Google Play AI pack (default run folder: runs/fleet)")


def chosen_targets(arguments: argparse.Namespace) -> "tuple[Target, ...]":
    """The targets, whose latency something here gives; without --fleet it is one, and `arguments.target` its name.

    Raises:
        InputError: none; an unknown one or one that can't be timed here; one that is there twice; several without
            --fleet; a --device that is one phone where the targets are of several.
    """
    from device_profiler.errors import InputError
    from device_profiler.targets import timed_target

    names = [arguments.target] if isinstance(arguments.target, str) else list(arguments.target)
    if not names:
        raise InputError("target is an empty list: name one target, or several and fleet = true")
    targets = tuple(timed_target(name) for name in names)
    if twice := [name for n, name in enumerate(names) if name in names[:n]]:
        raise InputError(f"--target names {twice[0]} twice: name each target once")
    if not arguments.fleet:
        if len(names) > 1:
            raise InputError(f"--target names {len(names)} targets ({', '.join(names)}): add --fleet to deploy to all "
                             "of them from one checkpoint, or name one")
        arguments.target = names[0]
    phones = list(dict.fromkeys(target.device for target in targets))
    if len(phones) > 1 and arguments.device not in FROM_ANY_PHONE:
        raise InputError(f"--device {arguments.device} is one phone, but the targets are of {' and '.join(phones)}: "
                         "leave it out (every attached phone is found by its target), or name targets of one phone")
    return targets
