"""README.md stays true: its tree is the code's own, its commands exist."""

import re
from pathlib import Path

from pipeline.__main__ import VERBS, verb_module
from pipeline.cli.parser import parse, verb_parser
from tests.readme_tree import with_tree

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_tree_is_up_to_date() -> None:
    assert with_tree(README) == README, "run: python tests/readme_tree.py"


def test_every_command_in_it_parses() -> None:
    commands = re.findall(r"`?python -m pipeline ([^`|\n]+)`", README)
    assert len(commands) >= 4
    for command in commands:
        verb, *words = command.split()
        if verb == "VERB":
            continue
        assert verb in VERBS
        if "--help" not in words:
            parse(verb_parser(verb, verb_module(verb)), words)


def test_every_make_target_in_it_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {name for name in re.findall(r"make ([a-z]+)", README) if name != "hides"} <= targets
