"""Shared by every package's tests: modules beside this file can be imported by tests and by the workers they start."""

import os
from collections.abc import Generator
from functools import cache
from pathlib import Path

import pytest

from tests.deployments import cpu, environment, npu  # noqa: F401
from tests.error_catalogue import Listed, listed
from tests.error_recorder import append, recorded
from tests.side_by_side import FileScheduling, longest_first, own_cache


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--record-errors FILE`: see error_catalogue.py."""
    parser.addoption("--record-errors", type=Path, help="note every error that a test raises in this file")


def pytest_configure() -> None:
    """Of each pytest worker (or of the one process where there are none)."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # two workers share the cores: a waiting thread must sleep
    if "PYTEST_XDIST_WORKER" in os.environ:
        own_cache()


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> FileScheduling:
    """See side_by_side.py."""
    return FileScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """See side_by_side.py."""
    longest_first(items)


@cache
def _promised() -> dict[str, tuple[Listed, ...]]:
    """By test: the errors that the list says it raises."""
    entries = listed()
    return {test: tuple(e for e in entries if e.test == test) for test in {e.test for e in entries if e.test}}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Hold golden/errors.toml against what the tests that it names really raise."""
    promised, record = _promised().get(item.nodeid, ()), item.config.getoption("--record-errors")
    if not promised and not record:
        return (yield)
    with recorded(item.nodeid) as seen:
        result = yield
    if record:
        append(record.resolve(), seen)
    raised = {error.text for error in seen}
    missing = [entry.text for entry in promised if not any(shows(entry, text) for text in raised)]
    assert not missing, f"golden/errors.toml says that this test raises {missing}; it raised {sorted(raised)}"
    return result


def shows(entry: Listed, message: str) -> bool:
    """Is `message` what the entry says?"""
    return entry.shows(f"error: {message}")
