"""What tests of training share: a tiny network and its data, trainings that are broken off, weights compared."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from killed_training import tiny_source, tiny_spec
from safetensors import safe_open
from safetensors.torch import load_file

from pipeline.data import DataSource
from pipeline.model import ModelSpec
from pipeline.progress import Advance, SilentProgress

Weights = dict[str, torch.Tensor]


class NotedProgress(SilentProgress):
    """Notes after how many steps each task begins."""

    def __init__(self) -> None:
        self.begun: list[int] = []

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[Advance]:
        counts: list[int] = []
        yield lambda steps=1, note="": counts.append(steps)
        if title.startswith("stage"):
            self.begun.append(counts[0])


class InterruptedProgress:
    """Ctrl-C after so many steps in all."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[Advance]:
        yield self._advance

    def _advance(self, steps: int = 1, note: str = "") -> None:
        self.left -= steps
        if self.left <= 0:
            raise KeyboardInterrupt

    def note(self, text: str) -> None:
        pass


def weights(folder: Path) -> Weights:
    return load_file(folder / "model.safetensors")


def same(first: Weights, second: Weights, part: str = "") -> bool:
    names = [name for name in first if name.startswith(part)]
    assert names
    return all(torch.equal(first[name], second[name]) for name in names)


def kept_steps(folder: Path) -> set[tuple[int, int]]:
    """(stage, steps done) of every state that lies there."""
    found = set()
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as stored:
            progress = json.loads(stored.metadata()["progress"])
        found.add((progress["stage"], progress["step"]))
    return found


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataSource]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield tiny_source()


@pytest.fixture(scope="module")
def spec(source: DataSource) -> ModelSpec:
    return tiny_spec(source)
