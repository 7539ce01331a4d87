"""`python -m pipeline search`: flags, JSON, exit codes, and how light it is."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from search_tables import best_row, brute_force, random_statistics, random_table

from pipeline.__main__ import run
from pipeline.exit_statistics import ExitStatistics
from pipeline.latency_table import LatencyTable

KEYS = [
    "configuration",
    "miou",
    "latency_ns",
    "worst_latency_ns",
    "exit_rates",
    "optimal",
    "bound",
    "configurations",
    "seconds",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    statistics = random_statistics(11, images=8)
    statistics.save(tmp_path / "statistics.npz")
    random_table(11, statistics).save(tmp_path / "latency.json")
    return tmp_path


def files(folder: Path) -> list[str]:
    return ["--statistics", str(folder / "statistics.npz"), "--latency", str(folder / "latency.json")]


def answer(capsys: pytest.CaptureFixture[str], folder: Path, *flags: str) -> dict[str, object]:
    assert run(["search", *files(folder), *flags, "--json"]) == 0
    content: dict[str, object] = json.loads(capsys.readouterr().out)
    return content


def test_json_of_the_contract(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    content = answer(capsys, folder, "--setting", "adaptive", "--max-latency", "8ns")
    assert list(content) == KEYS
    configuration = content["configuration"]
    assert isinstance(configuration, dict)
    assert list(configuration) == ["setting", "exits", "heads", "thresholds"]
    rows = brute_force(*loaded(folder), 3)
    best = best_row(rows, cheapest=False, latency=8, worst=1e9, miou=-1)
    assert best is not None
    assert content["miou"] == pytest.approx(best.miou, abs=1e-9)
    assert content["bound"] == content["miou"]
    assert content["optimal"] is True


def test_without_an_objective_at_most_1pp_below_the_full_network(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    statistics, table = loaded(folder)
    content = answer(capsys, folder)
    assert content == {**answer(capsys, folder, "--max-drop", "1pp"), "seconds": content["seconds"]}
    floor = statistics.miou(*statistics.reference) - 0.01
    best = best_row(brute_force(statistics, table, 3), cheapest=True, latency=1e9, worst=1e9, miou=floor)
    assert best is not None
    assert content["latency_ns"] == pytest.approx(best.latency, abs=1e-6)
    assert content["bound"] == content["latency_ns"]


def test_run_folder_holds_both_files(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    assert run(["search", "--run", str(folder), "--setting", "budgeted"]) == 0
    assert "mIoU" in capsys.readouterr().out


def test_front_and_its_text(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    content = answer(capsys, folder, "--front", "--setting", "budgeted")
    points = content["points"]
    assert isinstance(points, list)
    mious = [point["miou"] for point in points]
    assert mious == sorted(mious)
    assert run(["search", *files(folder), "--front"]) == 0
    assert "complete" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--max-latency", "0"], 2, "more than 0"),
        (["--max-latency", "30"], 2, "no unit"),
        (["--max-latency", "3ms", "--min-miou", "0.5"], 2, "two objectives"),
        (["--max-drop", "1pp", "--min-miou", "0.5"], 2, "give one of them"),
        (["--max-drop", "1"], 2, "percentage points"),
        (["--min-miou", "60"], 2, "between 0 and 1"),
        (["--max-exits", "0"], 2, "at least 1"),
        (["--threshold-grid", "0"], 2, "at least 1"),
        (["--setting", "anytime"], 2, "needs at least one --deadline"),
        (["--deadline", "3ms"], 2, "belongs to --setting anytime"),
        (["--setting", "greedy"], 2, "invalid choice"),
        (["--max-cost", "10"], 2, "the latency table is in ns"),
        (["--max-latency", "3ms", "--max-worst-cost", "3"], 2, "don't mix"),
        (["--max-latency", "0.001ns"], 3, "nearest feasible"),
        (["--min-miou", "1"], 3, "nearest feasible"),
        (["--min-miou", "0.9", "--max-worst-latency", "0.001ns"], 3, "of any full path"),
    ],
)
def test_bad_input_is_one_line(folder: Path, flags: list[str], code: int, words: str) -> None:
    command = [sys.executable, "-m", "pipeline", "search", *files(folder), *flags]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == code
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


def test_infeasible_names_the_nearest_point_on_both_sides(folder: Path) -> None:
    from device_profiler.errors import InfeasibleError

    rows = brute_force(*loaded(folder), 3)
    with pytest.raises(InfeasibleError) as caught:
        run(["search", *files(folder), "--max-latency", "0.001ns"])
    least = best_row(rows, cheapest=True, latency=1e9, worst=1e9, miou=-1)
    most = best_row(rows, cheapest=False, latency=1e9, worst=1e9, miou=-1)
    assert least is not None and most is not None
    assert f"mIoU {least.miou:.4f}" in str(caught.value)
    assert f"mIoU {most.miou:.4f}" in str(caught.value)


def test_other_costs_by_the_same_code(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    import msgspec

    _, table = loaded(folder)
    in_time = answer(capsys, folder, "--max-latency", "8ns")
    msgspec.structs.replace(table, unit="multiply-adds").save(folder / "latency.json")
    in_work = answer(capsys, folder, "--max-cost", "8")
    assert in_work == {**in_time, "seconds": in_work["seconds"]}


def test_importing_the_search_is_light() -> None:
    code = (
        "import sys; import pipeline.exact_search, pipeline.exact_search.objective, pipeline.cli.search; "
        "sys.exit(any(m in sys.modules for m in ('numba', 'torch', 'numpy')))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == 0


def loaded(folder: Path) -> tuple[ExitStatistics, LatencyTable]:
    return ExitStatistics.load(folder / "statistics.npz"), LatencyTable.load(folder / "latency.json")
