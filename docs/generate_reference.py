"""Writes docs/reference/ out of the code: the command line, configuration keys, the manifest, the files of a run.

`python -m docs.generate_reference` (or `make reference`); a test holds that the pages are up to date.
"""

import argparse
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from device_profiler import targets
from mobile_export import manifest
from pipeline import FUNCTIONS, api, exit_statistics
from pipeline.__main__ import ACTIONS, VERBS, usage, verb_module
from pipeline.cli.parser import NOT_IN_FILES, verb_parser
from pipeline.exact_search.configuration import Front, SearchResult
from pipeline.fleet import index
from pipeline.latency_table import LatencyTable
from pipeline.run_report.record import RunReport

FOLDER = Path(__file__).parent / "reference"
COMMON = "common options"
MADE = "<!-- made by docs/generate_reference.py: edit the code, then `make reference` -->\n\n"


@dataclass(frozen=True)
class Command:
    """A verb, or an action of one that has options of its own: its words and its parser."""

    words: str
    about: str
    parser: argparse.ArgumentParser


def commands() -> Iterator[Command]:
    """Every command in the order of `--help`, each verb followed by its actions that have options of their own."""
    for verb in VERBS:
        for words in (verb, *(action for action in ACTIONS if action.startswith(f"{verb} "))):
            module = verb_module(words)
            yield Command(words, module.HELP, verb_parser(words, module))


def cli_page() -> str:
    """Every command with its arguments."""
    parts = [MADE, "# Command line\n\n", f"```text\n{usage()}\n```\n\n## Options of every command\n\n"]
    parts += _groups(next(commands()).parser, common=True)
    for command in commands():
        parts.append(f"## `{command.words}`\n\n{_sentence(command.about)}\n\n")
        parts += _groups(command.parser, common=False)
    return "".join(parts)


def _groups(parser: argparse.ArgumentParser, *, common: bool) -> Iterator[str]:
    for group in parser._action_groups:
        if (group.title == COMMON) is not common:
            continue
        actions = [action for action in group._group_actions if action.dest != "help"]
        if actions:
            rows = [(_words(action), _default(action), action.help or "") for action in actions]
            about = f" ({group.description})" if group.description else ""
            yield f"**{(group.title or '').capitalize()}**{about}\n\n{_table(('option', 'default', ''), rows)}\n"


def _words(action: argparse.Action) -> str:
    value = action.metavar or ("|".join(map(str, action.choices)) if action.choices else action.dest.upper())
    shown = value if isinstance(value, str) else " ".join(value)
    if not action.option_strings:
        return f"`{shown}`"
    flags = ", ".join(action.option_strings)
    return f"`{flags}`" if action.nargs == 0 else f"`{flags} {shown}`"


def _default(action: argparse.Action) -> str:
    if action.required:
        return "required"
    return "" if action.default in (None, False, "", []) else f"`{action.default}`"


def config_page() -> str:
    """Every key of a configuration file, with the commands that take it."""
    keys: dict[str, tuple[dict[str, None], str, str, list[str]]] = {}
    for command in commands():
        for action in command.parser._actions:
            if action.dest in NOT_IN_FILES or not action.option_strings:
                continue
            key = action.dest.replace("_", "-")
            row = keys.setdefault(key, ({}, _default(action), action.help or "", []))
            row[0][_kind(action)] = None
            row[3].append(command.words)
    rows = [
        (f"`{key}`", " or ".join(kinds), default, about, ", ".join(verbs))
        for key, (kinds, default, about, verbs) in keys.items()
    ]
    return (
        f"{MADE}# Configuration files\n\n"
        "`--config FILE.toml` reads options from a file; keys are the flags without the dashes in front, values of the "
        "command line win. An unknown key is an error that names the nearest known one. `--save-config FILE.toml` "
        "writes the options as resolved, and `deploy` keeps them as config.toml in the run folder: "
        "`deploy --config runs/NAME/config.toml` gives the same deployment.\n\n"
        '```toml\ntarget = "pixel7-cpu"\npreset = "quick"\nmax-latency = "30ms"\ndeadline = ["20ms", "40ms"]\n'
        "require-device = true\n```\n\n"
        f"{_table(('key', 'value', 'default', '', 'of'), rows)}"
    )


def _kind(action: argparse.Action) -> str:
    if action.nargs == 0:
        return "true or false"
    kind = "number" if action.type in (int, float) else "text"
    return f"list of {kind}s" if isinstance(action, argparse._AppendAction) or action.nargs else kind


def manifest_page() -> str:
    """manifest.json, type by type."""
    about = (
        "`manifest.json` in a bundle says everything that an app needs to run it, and where every figure comes from. "
        "Unknown fields are ignored by readers; a schema newer than the reader is refused. As JSON Schema: "
        "`docs/manifest.schema.json` in the repository."
    )
    return f"{MADE}# Manifest\n\nSchema {manifest.SCHEMA}. {about}\n\n{_types(manifest.Manifest)}"


def files_page() -> str:
    """The files of a run folder, and what `--json` prints."""
    required = _table(("key", ""), [(f"`{key}`", "required") for key in exit_statistics.REQUIRED_KEYS]
                      + [(f"`{key}`", "optional") for key in exit_statistics.OPTIONAL_KEYS])  # fmt: skip
    parts = [
        MADE, "# Files and results\n\n",
        "## `statistics.npz`\n\n", f"Schema {exit_statistics.SCHEMA}. {_doc(exit_statistics.ExitStatistics)}\n\n",
        f"```python\n{_fields_as_written(exit_statistics.ExitStatistics)}\n```\n\n{required}\n",
        "## `latency.json`\n\n", _types(LatencyTable, level=3),
        "## `search --json`\n\n", _types(SearchResult, level=3),
        "## `search --front --json` and `front.json`\n\n", _types(Front, level=3),
        "## `report.json`\n\n", _types(RunReport, level=3),
        "## `index.json` of a fleet\n\n",
        f"Schema {index.SCHEMA}; [what it is for](../fleet-index.md). As JSON Schema: `docs/index.schema.json` in the "
        "repository.\n\n", _types(index.BundleIndex, level=3),
        "## `targets --json`\n\n", _types(targets.Target, level=3),
    ]  # fmt: skip
    return "".join(parts)


def api_page() -> str:
    """The functions of the Python API, read out of their docstrings by Sphinx."""
    names = "\n".join(f".. autofunction:: pipeline.api.{name}" for name in _functions())
    results = ".. automodule:: pipeline.api_results\n   :members:"
    about = inspect.cleandoc(api.__doc__ or "")
    parts = (MADE, "# Python\n\n", f"{about}\n\n", _restructured(names), "## Results\n\n", _restructured(results))
    return "".join(parts)


def _restructured(text: str) -> str:
    return f"```{{eval-rst}}\n{text}\n```\n\n"


def _functions() -> list[str]:
    return [name for name in vars(api) if name in FUNCTIONS]


def _types(root: Any, level: int = 2) -> str:
    """A type and every type that its fields hold, as tables."""
    schema = msgspec.json.schema(root)
    definitions: dict[str, Any] = schema.get("$defs", {})
    first = schema.get("$ref", "").rsplit("/", 1)[-1]
    names = [first, *(name for name in definitions if name != first)]
    return "".join(_type(name, definitions[name], level) for name in names if "properties" in definitions[name])


def _type(name: str, definition: Mapping[str, Any], level: int) -> str:
    required = set(definition.get("required", ()))
    rows = [
        (f"`{field}`", _shape(content), "required" if field in required else _json(content.get("default")))
        for field, content in definition["properties"].items()
    ]
    about = definition.get("description", "")
    return f"{'#' * level} {name}\n\n{_prose(about)}\n\n{_table(('field', 'value', 'default'), rows)}\n"


def _shape(content: Mapping[str, Any]) -> str:
    """A JSON Schema in few words."""
    if "$ref" in content:
        return str(content["$ref"]).rsplit("/", 1)[-1]
    if "anyOf" in content:
        return " or ".join(_shape(option) for option in content["anyOf"])
    if "enum" in content:
        return " or ".join(_json(value) for value in content["enum"])
    if content.get("type") == "array":
        if "prefixItems" in content:
            return f"[{', '.join(_shape(item) for item in content['prefixItems'])}]"
        return f"[{_shape(content.get('items') or {})}, ...]"
    if content.get("type") == "object":
        return f"{{name: {_shape(content.get('additionalProperties') or {})}}}"
    return {"number": "number", "integer": "whole number", "string": "text", "boolean": "true or false",
            "null": "null"}.get(str(content.get("type")), "anything")  # fmt: skip


def _json(value: Any) -> str:
    return f"`{msgspec.json.encode(value).decode()}`"


def _fields_as_written(kind: type) -> str:
    """The fields of a class as its source has them, with their comments."""
    lines = inspect.getsource(kind).splitlines()
    start = next(n for n, line in enumerate(lines) if ": NDArray" in line)
    end = next(n for n, line in enumerate(lines) if n > start and not line.strip())
    return inspect.cleandoc("\n".join(lines[start:end]))


def _doc(kind: type) -> str:
    return _prose(inspect.getdoc(kind) or "")


def _prose(text: str) -> str:
    return " ".join(text.split()).replace("<", "&lt;").replace("[", "\\[").replace("*", "\\*")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    cells = [tuple(_cell(text) for text in row) for row in rows]
    lines = [f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *cells)]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    shown = " ".join(text.split()).replace("|", "\\|")
    return shown if "`" in shown else shown.replace("<", "&lt;")


PAGES = {"cli.md": cli_page, "config.md": config_page, "manifest.md": manifest_page, "files.md": files_page,
         "python.md": api_page}  # fmt: skip


def main() -> None:
    """Write every page."""
    FOLDER.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page())


if __name__ == "__main__":
    main()
