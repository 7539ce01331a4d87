"""Errors of the search and of certificates, raised by calls: files alone do not reach them."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.certificate import certify
from pipeline.exact_search.configuration import Configuration
from pipeline.exact_search.evaluate import evaluate_configuration
from pipeline.exact_search.objective import Objective
from pipeline.exact_search.runners_up import runners_up
from pipeline.exact_search.solver import search
from pipeline.exit_statistics import ExitStatistics
from pipeline.latency_table import LatencyTable
from pipeline.promise import Promise
from tests.provocations.folders import searches


def _tables(folder: Path, latency: str = "latency") -> tuple[ExitStatistics, LatencyTable]:
    searches(folder)
    return ExitStatistics.load(folder / "statistics.npz"), LatencyTable.load(folder / f"{latency}.json")


def _evaluate(folder: Path, configuration: Configuration, latency: str = "latency") -> None:
    statistics, table = _tables(folder, latency)
    evaluate_configuration(statistics, table, configuration)


def unknown_head(folder: Path, patch: pytest.MonkeyPatch) -> None:
    _evaluate(folder, Configuration("budgeted", (0,), ("lraspp",)))


def falling_exits(folder: Path, patch: pytest.MonkeyPatch) -> None:
    _evaluate(folder, Configuration("adaptive", (1, 0), ("fcn", "fcn"), (0.5,)))


def lacking_threshold(folder: Path, patch: pytest.MonkeyPatch) -> None:
    _evaluate(folder, Configuration("adaptive", (0, 1), ("fcn", "fcn")))


def no_deadline(folder: Path, patch: pytest.MonkeyPatch) -> None:
    _evaluate(folder, Configuration("anytime", (0, 1), ("fcn", "fcn")))


def head_without_latency(folder: Path, patch: pytest.MonkeyPatch) -> None:
    _evaluate(folder, Configuration("budgeted", (1,), ("fcn",)), "no_full")


def full_network_without_latency(folder: Path, patch: pytest.MonkeyPatch) -> None:
    search(*_tables(folder, "no_full"), Objective(setting="adaptive", ends_with_full=True))


def negative_error(folder: Path, patch: pytest.MonkeyPatch) -> None:
    statistics, table = _tables(folder)
    winner = Configuration("budgeted", (1,), ("fcn",))
    runners_up(statistics, table, Objective(setting="budgeted"), winner, error=-0.1, count=1)


def uneven_heads(folder: Path, patch: pytest.MonkeyPatch) -> None:
    zeros = np.zeros((2, 1, 1, 1), np.int64)
    ExitStatistics(zeros[..., 0].astype(np.float32), zeros, zeros, ("a", "b"), (("x",), ("x", "y")), ("c",), ("i",),
                   (0, 0), "mean")  # fmt: skip


def unknown_setting(folder: Path, patch: pytest.MonkeyPatch) -> None:
    Objective(setting="hopeful")


def no_deadline_left(folder: Path, patch: pytest.MonkeyPatch) -> None:
    Objective(setting="anytime", deadlines_ns=(0.0,))


def negative_latency(folder: Path, patch: pytest.MonkeyPatch) -> None:
    Objective(setting="adaptive", max_latency_ns=-1.0)


def large_miou(folder: Path, patch: pytest.MonkeyPatch) -> None:
    Objective(setting="adaptive", min_miou=1.5)


def anytime_certificate(folder: Path, patch: pytest.MonkeyPatch) -> None:
    statistics, _table = _tables(folder)
    certify(statistics, statistics, Configuration("anytime", (0, 1), ("fcn", "fcn")), Promise(0.1))


def other_network(folder: Path, patch: pytest.MonkeyPatch) -> None:
    statistics, _table = _tables(folder)
    other = ExitStatistics(**{**vars(statistics), "exits": ("first", "second")})
    certify(statistics, other, Configuration("budgeted", (1,), ("fcn",)), Promise(0.1))
