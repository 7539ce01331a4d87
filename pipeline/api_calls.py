"""From a Python call to a command: keyword arguments become its words, so both obey the same rules and defaults."""

import argparse
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.cli.output import Emitted


def command(verb: str, options: Mapping[str, object]) -> "Emitted":
    """Run a command with `options` by destination (`max_latency` is --max-latency); what it would print comes back.

    None, False and empty sequences leave an option at the command's default.

    Raises:
        PipelineError: as the command line does, with the same text.
    """
    from pipeline.__main__ import verb_module
    from pipeline.cli.output import taken_results
    from pipeline.cli.parser import parse, verb_parser

    module = verb_module(verb)
    parser = verb_parser(verb, module)
    arguments = parse(parser, words_of(parser, options))
    arguments.json = True  # what only people read is not worked out
    with taken_results() as taken, _silence_given_back():
        module.handle(arguments)
    return taken[-1]


def words_of(parser: argparse.ArgumentParser, options: Mapping[str, object]) -> list[str]:
    """The words of a command line that states `options`. A sequence is one word with commas, or repeats its flag."""
    flags: list[str] = []
    positional: list[str] = []
    for action in parser._actions:
        value = options.get(action.dest)
        if value is None or value is False or value == ():
            continue
        words = _words(action, value)
        (flags if action.option_strings else positional).extend(words)
    return [*flags, *positional]


def _words(action: argparse.Action, value: object) -> list[str]:
    if not action.option_strings:
        return [str(value)]
    flag = action.option_strings[-1]
    if value is True:
        return [flag]
    if not isinstance(value, (tuple, list)):
        return [f"{flag}={value}"]
    texts = [str(item) for item in value]
    if isinstance(action, argparse._AppendAction):
        return [f"{flag}={text}" for text in texts]
    return [flag, *texts] if action.nargs else [f"{flag}={','.join(texts)}"]


@contextmanager
def _silence_given_back() -> Iterator[None]:
    """What a command silences for a terminal (loggers, warnings) is as it was before for the caller."""
    disabled, python_warnings = logging.root.manager.disable, os.environ.get("PYTHONWARNINGS")
    with warnings.catch_warnings():
        try:
            yield
        finally:
            logging.disable(disabled)
            if python_warnings is None:
                os.environ.pop("PYTHONWARNINGS", None)
