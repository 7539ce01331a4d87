"""Kotlin and Swift of a bundle: parsed by the languages' tree-sitter grammars; every runtime's files are there."""

from pathlib import Path
from typing import get_args

import pytest
import tree_sitter_kotlin
import tree_sitter_swift
from tree_sitter import Language, Node, Parser

from device_profiler.targets import Runtime
from mobile_export import glue
from mobile_export.glue import glue_files

HERE = Path(glue.__file__).parent
LANGUAGES = {".kt": Language(tree_sitter_kotlin.language()), ".swift": Language(tree_sitter_swift.language())}
SOURCES = sorted(file for file in HERE.rglob("*") if file.suffix in LANGUAGES)


def errors(node: Node) -> list[str]:
    """Places that the grammar does not know."""
    if node.is_missing or node.type == "ERROR":
        return [f"line {node.start_point.row + 1}: {(node.text or b'').decode()[:60]!r}"]
    return [error for child in node.children for error in errors(child)]


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.name)
def test_every_source_parses(file: Path) -> None:
    assert errors(Parser(LANGUAGES[file.suffix]).parse(file.read_bytes()).root_node) == []


def test_a_broken_source_does_not_parse() -> None:
    whole = (HERE / "kotlin" / "Bundle.kt").read_bytes()
    broken = whole.replace(b"class Segmenter<Value>(", b"class Segmenter<Value>", 1)
    assert errors(Parser(LANGUAGES[".kt"]).parse(broken).root_node)


RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_each_runtime_gets_code_that_is_there(runtime: Runtime) -> None:
    files = glue_files(runtime)
    assert all(file.is_file() for file in files.values())
    models = {Path(name).stem for name in files if Path(name).stem.endswith("Model")}
    assert models and all(stem.lower().startswith(runtime.split("-")[0]) for stem in models)


def test_no_file_is_left_behind() -> None:
    shipped = {file for runtime in RUNTIMES for file in glue_files(runtime).values()}
    assert set(SOURCES) <= shipped
