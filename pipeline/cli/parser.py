"""The argument parser: common options, one-line errors, and configuration files whose keys are the flags."""

import argparse
import tomllib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from device_profiler.errors import InputError, PipelineError
from pipeline.cli.suggestion import suggest

NOT_IN_FILES = {"help", "config", "save_config", "json", "verbose", "command"}


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are InputErrors: one clear line, exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage."""
        raise InputError(f"{message}; see `{self.prog} --help`")


def verb_parser(name: str, module: ModuleType) -> Parser:
    """The parser of one verb: the options that every verb has, then the verb's own."""
    parser = Parser(prog=f"python -m pipeline {name}", description=module.HELP, allow_abbrev=False)
    common = parser.add_argument_group("common options")
    common.add_argument("--config", type=Path, metavar="FILE.toml", help="read options from a file; flags win over it")
    common.add_argument("--save-config", type=Path, metavar="FILE.toml", help="write the options as resolved")
    common.add_argument("--run", type=Path, metavar="DIR", help="the run folder (default: runs/<target>)")
    common.add_argument("--json", action="store_true", help="print the result as one JSON object on stdout")
    common.add_argument("-v", "--verbose", action="store_true", help="show what the runtimes and tools print")
    module.add_arguments(parser)
    return parser


def parse(parser: Parser, words: Sequence[str]) -> argparse.Namespace:
    """Parse `words`; options of `--config` count as if typed before them.

    Raises:
        InputError: a bad flag or value; an unreadable file; an unknown key (the nearest one is suggested).
    """
    early = Parser(prog=parser.prog, add_help=False, allow_abbrev=False)
    early.add_argument("--config", type=Path)
    config = early.parse_known_args(words)[0].config
    defaults = file_options(parser, config) if config else {}
    repeated = {a.dest for a in parser._actions if isinstance(a, argparse._AppendAction)}
    for action in parser._actions:
        if action.dest in defaults:
            # to a list that is a default argparse would add the words of the command line, which are to win
            action.default = None if action.dest in repeated else defaults[action.dest]
            action.required = False
    try:
        namespace = parser.parse_args(words)
    except PipelineError:
        raise
    except argparse.ArgumentError as error:
        raise InputError(str(error)) from None
    for dest in repeated & defaults.keys():
        if getattr(namespace, dest) is None:
            setattr(namespace, dest, defaults[dest])
    if namespace.save_config:
        write_options(resolved_options(namespace), namespace.save_config)
    return namespace


def file_options(parser: Parser, path: Path) -> dict[str, object]:
    """The options of a TOML file as parsed values by destination. Keys are flag names without the dashes in front."""
    try:
        content = tomllib.loads(path.read_text())
    except OSError as error:
        raise InputError(f"can't read the configuration {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no valid TOML: {error}") from None
    actions = {action.dest: action for action in parser._actions if action.dest not in NOT_IN_FILES}
    return {
        dest: _converted(path, key, actions[dest], value)
        for key, value in content.items()
        for dest in [_known(path, key, actions)]
    }


def _known(path: Path, key: str, actions: dict[str, argparse.Action]) -> str:
    dest = key.replace("-", "_")
    if dest not in actions:
        raise InputError(f"{path}: unknown key {key!r}{suggest(key, [a.replace('_', '-') for a in actions])}")
    return dest


def _converted(path: Path, key: str, action: argparse.Action, value: object) -> object:
    if isinstance(action, argparse._StoreTrueAction):
        if not isinstance(value, bool):
            raise InputError(f"{path}: {key} is true or false, but got {value!r}")
        return value
    if isinstance(value, list):
        return [_converted(path, key, action, item) for item in value]
    try:
        converted = action.type(str(value)) if callable(action.type) else str(value)
    except argparse.ArgumentTypeError as error:
        raise InputError(f"{path}: {key}: {error}") from None  # the value may hold a password
    except ValueError:
        raise InputError(f"{path}: {key} = {value!r} is no {getattr(action.type, '__name__', 'value')}") from None
    if action.choices is not None and converted not in action.choices:
        raise InputError(f"{path}: {key} = {value!r}; choose from {', '.join(map(str, action.choices))}")
    return converted


def resolved_options(namespace: argparse.Namespace) -> dict[str, object]:
    """Every option that has a value, in the form that a configuration file takes."""
    return {
        dest.replace("_", "-"): _writable(value)
        for dest, value in sorted(vars(namespace).items())
        if dest not in NOT_IN_FILES and value is not None and value is not False
    }


def _writable(value: object) -> object:
    if isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_writable(item) for item in value]
    return str(value)


def write_options(options: dict[str, object], path: Path) -> None:
    """Write resolved options so that `--config` of the file repeats the command."""
    import tomli_w

    from device_profiler.files import write_atomic

    write_atomic(path, tomli_w.dumps(options))
