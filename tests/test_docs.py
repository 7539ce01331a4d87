"""The documentation is true: its reference is the code's own, its commands parse and run, its links lead somewhere."""

import os
import re
from pathlib import Path

import pytest

from device_profiler.errors import InputError
from docs.generate_reference import FOLDER, PAGES
from pipeline.__main__ import ACTIONS, VERBS, verb_module
from pipeline.cli.parser import parse, verb_parser
from tests.guides import DOCS, ROOT, Block, blocks, commands, pages, run

BLOCKS = [block for page in pages() for block in blocks(page)]
GUIDES = sorted((DOCS / "guides").glob("*.md"))


@pytest.mark.parametrize("name", PAGES)
def test_the_reference_is_the_codes_own(name: str) -> None:
    assert (FOLDER / name).read_text() == PAGES[name](), "run: make reference"


def test_every_block_of_the_guides_says_what_tests_do_with_it() -> None:
    assert [str(block) for block in BLOCKS if block.when == "unmarked" and "/guides/" in block.page] == []
    assert len(GUIDES) >= 5 and all(blocks(guide) for guide in GUIDES)


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_command_parses_or_is_refused_as_its_page_says(block: Block) -> None:
    for words in commands(block):
        action = " ".join(words[:2])
        verb = action if action in ACTIONS else words[0]
        assert words[0] in VERBS, words
        rest = words[len(verb.split()) :]
        if "--help" not in rest and "--config" not in rest:
            try:
                parse(verb_parser(verb, verb_module(verb)), rest)
            except InputError as error:
                assert block.code == InputError.exit_code and block.shows in str(error), error


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_quick_commands_do_what_the_guide_says(guide: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    (tmp_path / "here").mkdir()
    for block in blocks(guide):
        if block.when == "run":
            run(block, tmp_path / "here", environment)


@pytest.mark.parametrize("page", [*pages(), *sorted(FOLDER.glob("*.md"))], ids=lambda path: path.stem)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    absent = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert absent == []


def test_a_wrong_command_and_a_wrong_text_are_caught(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    marked = ("<!-- run; shows right -->\n", "echo wrong"), ("<!-- run -->\n", "false"), ("", ":")
    page.write_text("".join(f"{marker}```sh\n{text}\n```\n" for marker, text in marked))
    shown, failed, unmarked = blocks(page)
    with pytest.raises(AssertionError, match="does not show 'right'"):
        run(shown, tmp_path, dict(os.environ))
    with pytest.raises(AssertionError, match="ended with 1"):
        run(failed, tmp_path, dict(os.environ))
    assert unmarked.when == "unmarked"


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    from sphinx.cmd.build import main

    assert main(["-W", "--keep-going", "-q", "-b", "html", str(DOCS), str(tmp_path / "site")]) == 0
    page = (tmp_path / "site" / "reference" / "python.html").read_text()
    assert "max_worst_latency" in page
    assert str(ROOT) not in page
