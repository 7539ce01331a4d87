"""Every error that the command line can show: where the code makes one, and the list of them in golden/errors.toml.

An entry of the list is one text as a user sees it, with where it comes from and what provokes it:

    [[error]]
    at = "pipeline/durations.py"                       the file that makes it
    text = "error: '0' must be more than 0: ..."       the exact line; … stands for what differs from run to run
    exit = 2                                           the exit code
    words = ["search", "--max-latency", "0"]           the command line that shows it, and
    folder = "searches"                                what provocations/folders.py puts there before; or
    by = "devices:low_battery"                         a function in a module of provocations/ that raises it; or
    test = "tests/...::test_..."                       the test in which the real part raises it; or
    unshown = true                                     nothing yet (a failing test): the text is the code's

`python tests/error_catalogue.py` names the errors in the code that the list lacks. `pytest --record-errors FILE` notes
every error that a test raises; `python tests/error_catalogue.py FILE` then prints an entry for each that is lacking.
"""

import ast
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIST = ROOT / "tests" / "golden" / "errors.toml"
PACKAGES = ("pipeline", "mobile_export", "device_profiler")
BASES = {"PipelineError": 2, "InputError": 2, "InfeasibleError": 3, "DeviceError": 4, "VerificationError": 5}
"""The classes of device_profiler/errors.py with their exit codes."""
ANYTHING = "\x00"
"""Stands in a template for a value that only a run knows."""


@dataclass(frozen=True)
class Listed:
    """An entry of the list. Exactly one of `words`, `by`, `test` and `unshown` says what provokes it."""

    at: str
    text: str
    exit: int
    folder: str = ""
    words: tuple[str, ...] = ()
    by: str = ""
    test: str = ""
    unshown: bool = False

    def shows(self, text: str) -> bool:
        """Is `text` (as `plain` writes it) this error? `…` stands for anything."""
        return _pattern(self.text, "…").fullmatch(text) is not None


@dataclass(frozen=True)
class Site:
    """A place in the code that makes an error, and the texts that it can give (`ANYTHING` for values)."""

    at: str
    first: int
    last: int
    templates: tuple[str, ...]
    kind: str = ""

    def gives(self, text: str) -> bool:
        """Can this place give the message `text`? A reader of files may put the file's name in front."""
        return any(_pattern(template, ANYTHING, "(?:.*: )?").fullmatch(text) for template in self.templates)

    def __str__(self) -> str:
        return f"{self.at}:{self.first}: {' | '.join(self.templates).replace(ANYTHING, '{}')}"


@cache
def _pattern(text: str, gap: str, before: str = "") -> re.Pattern[str]:
    """A text with gaps that anything fills."""
    return re.compile(before + ".*".join(map(re.escape, text.split(gap))), re.DOTALL)


def listed() -> tuple[Listed, ...]:
    """The list, in its order."""
    entries = tomllib.loads(LIST.read_text())["error"]
    return tuple(Listed(**{**entry, "words": tuple(entry.get("words", ()))}) for entry in entries)


@cache
def sources() -> dict[str, ast.Module]:
    """The packages' modules by path from the root."""
    paths = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return {str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in paths}


def error_classes() -> set[str]:
    """Names of the errors that a user sees: the bases and everything that is derived from them."""
    names = set(BASES)
    classes = [node for tree in sources().values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    while new := {c.name for c in classes if c.name not in names and {_name(base) for base in c.bases} & names}:
        names |= new
    return names


@cache
def sites() -> tuple[Site, ...]:
    """Every place in the code that makes an error."""
    names = error_classes()
    return tuple(site for path, tree in sources().items() for site in _sites(path, tree, names))


def _sites(path: str, tree: ast.Module, names: set[str]) -> Iterator[Site]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _makes_error(node, names) and node.args:
            templates = tuple(_templates(node.args[0], tree))
            made = node.func.body if isinstance(node.func, ast.IfExp) else node.func
            yield Site(path, node.lineno, node.end_lineno or node.lineno, templates, _name(made))


def _makes_error(call: ast.Call, names: set[str]) -> bool:
    """`InputError(...)`, and `(InputError if ... else DeviceError)(...)`."""
    made = [call.func.body, call.func.orelse] if isinstance(call.func, ast.IfExp) else [call.func]
    return all(_name(node) in names for node in made)


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _templates(message: ast.expr, tree: ast.Module) -> Iterator[str]:
    """The texts of a message; one that a function of the same module words is looked up there."""
    if isinstance(message, ast.Call):
        called = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == _name(message.func)]
        returned = [n.value for f in called for n in ast.walk(f) if isinstance(n, ast.Return) and n.value is not None]
        yield from (_template(value) for value in returned or [message])
    elif isinstance(message, ast.IfExp):
        yield from (_template(value) for value in (message.body, message.orelse))
    else:
        yield _template(message)


def _template(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_template(value) for value in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _template(node.left) + _template(node.right)
    return ANYTHING


def plain(text: str, *folders: Path) -> str:
    """A message without what differs from run to run: folders, ports."""
    for folder in folders:
        text = text.replace(str(folder), "FOLDER")
    text = re.sub(r"/tmp/pytest-of-[^/\s]+/pytest-\d+/(popen-gw\d+/)?[^/\s:;,'`\"]+", "FOLDER", text)
    text = re.sub(r"process \d+ of user \d+ on \S+", "process … of user … on …", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.+]+", "…", text)
    text = text.replace(str(ROOT), "PROJECT").replace(str(Path.home()), "~")
    return re.sub(r"127\.0\.0\.1:\d{5}", "127.0.0.1:PORT", text)


def as_unshown(site: Site) -> Listed:
    """An entry for a place that nothing shows yet."""
    return Listed(site.at, "error: " + site.templates[0].replace(ANYTHING, "…"), exit_code(site.kind), unshown=True)


def exit_code(kind: str) -> int:
    """The exit code of an error class, or of what it is derived from."""
    if kind in BASES:
        return BASES[kind]
    classes = [node for tree in sources().values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    (derived,) = [node for node in classes if node.name == kind]
    return exit_code(next(_name(base) for base in derived.bases if _name(base) in error_classes()))


def message_of(entry: Listed) -> str:
    """The entry's text without `error: `."""
    return entry.text.removeprefix("error: ")


def unlisted() -> list[Site]:
    """Places in the code whose error the list lacks."""
    by_file: dict[str, list[str]] = {}
    for entry in listed():
        by_file.setdefault(entry.at, []).append(message_of(entry))
    return [site for site in sites() if not any(site.gives(text) for text in by_file.get(site.at, []))]


def stale() -> list[Listed]:
    """Entries that nothing in the code gives any more."""
    by_file: dict[str, list[Site]] = {}
    for site in sites():
        by_file.setdefault(site.at, []).append(site)
    return [entry for entry in listed() if not any(site.gives(message_of(entry)) for site in by_file.get(entry.at, []))]


def new_entries(record: Path) -> str:
    """TOML entries for the recorded errors whose place the list lacks: one a place."""
    lacking, blocks = unlisted(), []
    for line in record.read_text().splitlines():
        seen = json.loads(line)
        here = [site for site in lacking if site.at == seen["at"] and site.first <= seen["line"] <= site.last]
        if here:
            lacking.remove(here[0])
            rows = {"at": seen["at"], "text": f"error: {seen['text']}", "exit": seen["exit"], "test": seen["test"]}
            lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in rows.items()]
            blocks.append("[[error]]\n" + "".join(lines))
    return "\n".join(blocks)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(new_entries(Path(sys.argv[1])))
    else:
        print("\n".join(str(site) for site in unlisted()) or "every error is listed")
