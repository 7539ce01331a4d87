"""Deployments with the smoke preset that tests share: each is paid once a session."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from device_profiler.files import cache_folder

ROOT = Path(__file__).parents[1]
DOWNLOADS = ("compiled", "debian", "emulator", "numba", "runners", "toolchain", "wheels")
"""What the cache holds of packages and builds; everything else is a run's own work and starts empty here."""


@dataclass(frozen=True)
class Ran:
    """One deployment as the command line gave it."""

    result: dict[str, Any]
    run: Path
    stderr: str


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    cache = tmp_path_factory.mktemp("cache") / "mess-deploy"
    cache.mkdir()
    for name in DOWNLOADS:
        (cache / name).symlink_to(cache_folder(name))
    return {**os.environ, "XDG_CACHE_HOME": str(cache.parent), "CUDA_VISIBLE_DEVICES": ""}


def pipeline(environment: dict[str, str], *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", *words],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900,
    )
    assert done.returncode == code, done.stderr[-3000:]
    return done


def deployed(environment: dict[str, str], run: Path, target: str, *words: str) -> Ran:
    done = pipeline(environment, "deploy", "--preset", "smoke", "--target", target, "--run", str(run), "--json", *words)
    return Ran(json.loads(done.stdout), run, done.stderr)


@pytest.fixture(scope="session")
def npu(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The main job."""
    return deployed(environment, tmp_path_factory.mktemp("runs") / "npu", "pixel7-npu")


@pytest.fixture(scope="session")
def cpu(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory, npu: Ran) -> Ran:
    """Another target, of the same training."""
    run = tmp_path_factory.mktemp("runs") / "cpu"
    return deployed(environment, run, "pixel7-cpu", "--setting", "adaptive", "--max-drop", "1pp")
