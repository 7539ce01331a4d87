"""The stopwatch of benchmarks/cli: it reads a run's own timings, and its published figures keep what is promised."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks" / "cli" / "stopwatch.py"
FILES = {".venv/pyvenv.cfg": 1000.0, ".venv/installed": 1100.0, "runs/pixel7-cpu/config.toml": 1150.0,
         "runs/pixel7-cpu/report.html": 1400.0}  # fmt: skip


def test_a_finished_checkout_is_read_by_its_files_and_its_report(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    subprocess.run(["git", "init", "--quiet", str(checkout)], check=True)
    author = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    subprocess.run(["git", *author, "commit", "--quiet", "--allow-empty", "-m", "m"], cwd=checkout, check=True)
    for name, moment in FILES.items():
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).touch()
        os.utime(checkout / name, (moment, moment))
    stages = [{"stage": "training", "seconds": 200.0, "beside": ""}]
    (checkout / "runs/pixel7-cpu/report.json").write_text(json.dumps({"schema": 1, "stages": stages}))
    words = [sys.executable, str(SCRIPT), "--checkout", str(checkout), "--target", "pixel7-cpu"]
    done = subprocess.run([*words, "--output", str(tmp_path / "out.json")], capture_output=True, text=True, check=True)
    first = json.loads((tmp_path / "out.json").read_text())["first_deployment"]
    assert first["seconds"] == 400.0
    assert [(step["stage"], step["seconds"]) for step in first["steps"]] == [
        ("install", 100.0), ("prepare and start", 50.0), ("deploy", 250.0)
    ]  # fmt: skip
    assert first["deploy"] == stages
    assert "clone to first deployment of pixel7-cpu: 6.7 min" in done.stdout
    words = [sys.executable, str(SCRIPT), "--help-only", "--output", str(tmp_path / "out.json")]
    subprocess.run(words, capture_output=True, check=True)
    assert json.loads((tmp_path / "out.json").read_text())["first_deployment"] == first


def test_the_published_figures_keep_what_is_promised() -> None:
    published = json.loads((SCRIPT.parent / "results" / "stopwatch.json").read_text())
    assert published["help"]["help_seconds"] < 0.3
    first = published["first_deployment"]
    assert first["seconds"] == pytest.approx(sum(step["seconds"] for step in first["steps"]))
