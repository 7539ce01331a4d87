"""Which configuration goes to the certify split, and what `search --risk` prints of it."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from device_profiler.errors import InfeasibleError
from pipeline.__main__ import run
from pipeline.certificate import error_increase
from pipeline.certifying import certified, most_promising
from pipeline.exact_search.objective import Objective
from pipeline.exact_search.solver import search
from pipeline.exit_statistics import ExitStatistics
from pipeline.latency_table import LatencyTable
from pipeline.promise import Promise

TABLE = LatencyTable("test", "predicted", (10.0, 10.0, 10.0), ((1.0,), (1.0,), (1.0,)))


def three_exits(images: int, seed: int, *, middle_error: float = 0.06) -> ExitStatistics:
    """100 pixels an image, two classes; the first exit errs where it is unsure, the middle one a little everywhere."""
    generator = np.random.default_rng(seed)
    confidence = np.zeros((3, 1, images), dtype=np.float32)
    confidence[:2, 0] = generator.random((2, images))
    wrong = np.full((3, 1, images), 2, dtype=np.int64)
    wrong[0, 0] += generator.binomial(60, 0.4 * (1 - confidence[0, 0].astype(float)))
    wrong[1, 0] += generator.binomial(60, middle_error, images)
    right = 100 - wrong
    intersection = np.stack([right // 2, right - right // 2], axis=-1)
    return ExitStatistics(
        confidence=confidence,
        intersection=intersection,
        union=intersection + wrong[..., None],
        exits=("exit1", "exit2", "exit3"),
        heads=(("fcn",), ("fcn",), ("fcn",)),
        classes=("a", "b"),
        images=tuple(f"{seed}-{i}" for i in range(images)),
        reference=(2, 0),
        policy="mean",
    )


SEARCH, HELD = three_exits(300, 1), three_exits(800, 2)
CHEAPEST = Objective(max_drop=0.1)


def test_a_winner_beyond_the_promise_gives_way_to_a_cascade_that_ends_with_the_full_network() -> None:
    promise = Promise(0.02)
    plain = search(SEARCH, TABLE, CHEAPEST)
    assert plain.configuration.exits[-1] != 2
    chosen = most_promising(SEARCH, TABLE, CHEAPEST, promise, len(HELD.images))
    assert chosen.configuration.exits[-1] == 2
    assert not chosen.optimal
    result, certificate = certified(SEARCH, HELD, TABLE, CHEAPEST, promise, chosen)
    assert error_increase(HELD, result.configuration).mean() == certificate.risk < 0.02
    assert result.exit_rates[0] > 0
    assert certificate.thresholds == result.configuration.thresholds


def test_a_winner_that_carries_the_promise_stays_and_keeps_its_proof() -> None:
    promise = Promise(0.3)
    plain = search(SEARCH, TABLE, CHEAPEST)
    chosen = most_promising(SEARCH, TABLE, CHEAPEST, promise, len(HELD.images))
    assert chosen.configuration == plain.configuration
    result, certificate = certified(SEARCH, HELD, TABLE, CHEAPEST, promise, chosen)
    assert result.optimal and not certificate.raised
    assert result.configuration == plain.configuration


def test_the_certify_split_does_not_choose() -> None:
    """Only its size is known before the one look at it."""
    promise = Promise(0.02)
    chosen = most_promising(SEARCH, TABLE, CHEAPEST, promise, len(HELD.images))
    worse = three_exits(800, 3, middle_error=0.5)
    assert certified(SEARCH, worse, TABLE, CHEAPEST, promise, chosen)[1].certify_split != ""
    assert chosen.configuration.exits[-1] == 2


def test_a_bound_that_the_promise_breaks_is_infeasible() -> None:
    tight = Objective(max_latency_ns=14.0)
    promise = Promise(0.01)
    chosen = most_promising(SEARCH, TABLE, tight, promise, len(HELD.images))
    told = r"with the thresholds that risk 0\.01 at delta 0\.05 needs, .* ns expected, above the bound 14 ns: relax"
    with pytest.raises(InfeasibleError, match=told):
        certified(SEARCH, HELD, TABLE, tight, promise, chosen)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    SEARCH.save(tmp_path / "statistics.npz")
    HELD.save(tmp_path / "certify.npz")
    TABLE.save(tmp_path / "latency.json")
    return tmp_path


def test_search_prints_the_certificate(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    promise = ["--risk", "0.02", "--certify", str(folder / "certify.npz")]
    words = ["search", "--run", str(folder), "--max-drop", "10pp", *promise]
    assert run([*words, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["certificate"]["epsilon"] == 0.02
    assert content["certificate"]["images"] == 800
    assert content["certificate"]["thresholds"] == content["configuration"]["thresholds"]
    assert run(words) == 0
    assert "certified: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--risk", "0.02"], 2, "give --risk and --certify FILE together"),
        (["--certify", "certify.npz"], 2, "give --risk and --certify FILE together"),
        (["--delta", "0.1"], 2, "give --risk too"),
        (["--risk", "0"], 2, "between 0 and 1"),
        (["--risk", "0.02", "--certify", "certify.npz", "--front"], 2, "leave --front or --risk out"),
        (["--risk", "0.002", "--certify", "certify.npz"], 5, "needs 1497 even at no observed risk: 697 are missing"),
        (["--risk", "0.02", "--certify", "statistics.npz"], 2, "are in both splits"),
    ],
)
def test_bad_promises_are_one_line(folder: Path, flags: list[str], code: int, words: str) -> None:
    flags = [str(folder / flag) if flag.endswith(".npz") else flag for flag in flags]
    command = [sys.executable, "-m", "pipeline", "search", "--run", str(folder), *flags]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_missing_full_network_latency_is_named() -> None:
    table = LatencyTable("test", "predicted", (10.0, 10.0, 10.0), ((1.0,), (1.0,), (None,)))
    from device_profiler.errors import InputError

    with pytest.raises(InputError, match="no figure for the full network"):
        search(SEARCH, table, replace(CHEAPEST, ends_with_full=True))
