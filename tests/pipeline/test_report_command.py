"""The verb `report`, as a user types it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from report_factory import make_report

from pipeline.run_report import write_report


def report(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[2]
    return subprocess.run(
        [sys.executable, "-m", "pipeline", "report", *words],
        cwd=cwd, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two runs, the second one newer."""
    for age, name in ((100, "older"), (10, "newer")):
        path = tmp_path / "runs" / name / "report.json"
        write_report(make_report("emulated", "budgeted", run=name), path)
        os.utime(path, (1_000_000 - age, 1_000_000 - age))
    return tmp_path


def test_named_run_is_rendered_again(runs: Path) -> None:
    done = report("--run", "runs/older", "--json", cwd=runs)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"run": "runs/older", "report": "runs/older/report.html"}
    assert "<strong>older</strong>" in (runs / "runs/older/report.html").read_text()


def test_without_a_name_the_newest_run_is_taken(runs: Path) -> None:
    done = report(cwd=runs)
    assert done.returncode == 0, done.stderr
    assert "runs/newer/report.html" in done.stdout
    assert not (runs / "runs/older/report.html").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no run with a report.json in runs/"),
        (["--run", "nowhere"], "no report at nowhere/report.json"),
        (["--run", "broken"], "broken/report.json is no report of a run"),
    ],
)
def test_bad_run_is_one_line_and_exit_code_2(tmp_path: Path, words: list[str], said: str) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/report.json").write_text("<html>")
    done = report(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "broken/report.html").exists()
