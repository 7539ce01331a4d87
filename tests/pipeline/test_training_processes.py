"""Training by several processes, as a launcher starts them: one network, one folder, one set of curves."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
import torch
from killed_training import SCHEDULE
from one_convolution import one_step
from tiny_trainings import InterruptedProgress, kept_steps, same, weights
from tiny_trainings import source as source
from tiny_trainings import spec as spec

from device_profiler.errors import InputError
from pipeline.data import DataSource
from pipeline.model import ModelSpec
from pipeline.progress import SilentProgress
from pipeline.training.engine import OneProcess
from pipeline.training.run import RunOptions, train


def launched(tmp_path: Path, script: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Two processes of a script beside this file, or of `-m`, as `torchrun` and `accelerate launch` start them."""
    here = Path(__file__).parent
    path = os.pathsep.join([str(here.parents[1]), str(here)])
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    surroundings = {**os.environ, "PYTHONPATH": path, "XDG_CACHE_HOME": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    command = [*launch, script if script == "-m" else str(here / script), *words]
    return subprocess.run(
        command, env={**surroundings, **environment}, timeout=500, check=False, capture_output=True, text=True
    )


def test_two_processes_train_one_network_and_leave_one_checkpoint(
    spec: ModelSpec, source: DataSource, tmp_path: Path
) -> None:
    ended = launched(tmp_path, "killed_training.py", str(tmp_path / "run"), "1000")
    assert ended.returncode == 0, ended.stderr
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["model.json", "model.safetensors"]
    shared = weights(tmp_path / "run")
    train(spec, source, SCHEDULE, tmp_path / "alone", SilentProgress())
    assert all(torch.isfinite(value).all() for value in shared.values())
    assert not same(weights(tmp_path / "alone"), shared, "blocks")  # BatchNorm sees one image a process


def test_two_processes_share_a_batch_and_agree_on_its_gradient(tmp_path: Path) -> None:
    ended = launched(tmp_path, "one_convolution.py", str(tmp_path / "step"))
    assert ended.returncode == 0, ended.stderr
    first, second = (torch.load(tmp_path / f"step{rank}") for rank in range(2))
    torch.testing.assert_close(first, one_step(4, OneProcess()), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(first, second, rtol=0, atol=0)


@pytest.mark.slow
def test_two_processes_keep_one_file_of_curves(tmp_path: Path) -> None:
    stages = "".join(f"[training.{stage}]\nsteps = 1\n" for stage in ("exit_dropout", "distillation"))
    (tmp_path / "preset.toml").write_text(f'base = "smoke"\ndata = "shapes"\n{stages}')
    words = ["--preset", str(tmp_path / "preset.toml"), "--backbone", "user_networks:Plain", "--heads", "fcn-r4"]
    words += ["--size", "32x32", "--tensorboard", "--run", str(tmp_path / "run")]
    ended = launched(tmp_path, "-m", "--", "pipeline", "train", *words)
    assert ended.returncode == 0, ended.stderr
    assert len(list((tmp_path / "run" / "tensorboard").iterdir())) == 1


@pytest.mark.slow
def test_two_killed_processes_resume_to_the_same_weights(tmp_path: Path) -> None:
    killed = launched(tmp_path, "killed_training.py", str(tmp_path / "run"), "8")
    assert killed.returncode != 0 and kept_steps(tmp_path / "run") == {(1, 5), (2, 2)}
    for folder in ("run", "whole"):
        ended = launched(tmp_path, "killed_training.py", str(tmp_path / folder), "1000")
        assert ended.returncode == 0, ended.stderr
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "run"))


@pytest.mark.parametrize("finished", [False, True], ids=["nothing there", "one is done"])
def test_processes_that_see_different_folders_stop_before_the_first_step(
    spec: ModelSpec, source: DataSource, tmp_path: Path, finished: bool
) -> None:
    if finished:  # then the first process could leave at once, and the second one would wait for it
        train(spec, source, SCHEDULE, tmp_path / "run0", SilentProgress())
    ended = launched(tmp_path, "killed_training.py", str(tmp_path / "run"), "1000", FOLDER_BY_RANK="yes")
    assert ended.returncode != 0 and "is not one and the same folder for all 2 processes" in ended.stderr
    assert {path.name for path in tmp_path.glob("run*/*")} <= {"model.json", "model.safetensors"}
    assert len(list(tmp_path.glob("run*/*"))) == 2 * finished


def test_states_stay_until_every_process_has_read_them(
    spec: ModelSpec, source: DataSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first process that finds all stages done must not clear up before the others have come so far."""
    with pytest.raises(KeyboardInterrupt):
        train(spec, source, SCHEDULE, tmp_path, InterruptedProgress(9))
    states, waits = {path.name for path in tmp_path.iterdir()}, []
    monkeypatch.setattr(OneProcess, "wait", lambda engine: waits.append({path.name for path in tmp_path.iterdir()}))
    train(spec, source, SCHEDULE, tmp_path, InterruptedProgress(0))
    assert len(states) == 2 and waits == [states, {"model.json", "model.safetensors"}]


def test_only_the_first_process_writes_curves(
    spec: ModelSpec, source: DataSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    log = SimpleNamespace(write=lambda stage, step, values: written.append(step))
    short = msgspec.structs.replace(SCHEDULE, distillation=msgspec.structs.replace(SCHEDULE.distillation, steps=0))
    train(spec, source, short, tmp_path / "first", SilentProgress(), RunOptions(log=log))
    assert written == [1, 2, 3, 4, 5]
    monkeypatch.setattr(OneProcess, "rank", 1)
    with pytest.raises(InputError, match="no checkpoint"):  # writing it is the first process's, too
        train(spec, source, short, tmp_path / "second", SilentProgress(), RunOptions(log=log))
    assert written == [1, 2, 3, 4, 5]
