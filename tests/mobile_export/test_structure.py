"""The structure hash: one for every network of a shape, whatever its weights; another for anything that costs time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_network import cascade_programs
from torch import nn

from device_profiler.errors import InputError
from mobile_export.program import Program, TensorSpec
from mobile_export.structure import structure_hash


class Convolved(nn.Module):
    """One convolution with a scale."""

    def __init__(self, stride: int = 1, channels: int = 4, scale: float = 1.0) -> None:
        super().__init__()
        self.renamed = nn.Conv2d(3, channels, 3, stride)
        self.scale = scale

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.renamed(x) * self.scale,)


class Renamed(nn.Module):
    """The same computation under other names."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(3, 4, 3))

    def forward(self, picture: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.inner(picture) * 1.0,)


def hash_of(
    module: nn.Module, name: str = "a", size: int = 16, runtime: str = "litert", precision: str = "int8"
) -> str:
    module.eval()
    shape = (1, 3, size, size)
    output = TensorSpec("y", tuple(module(torch.zeros(shape))[0].shape))
    return structure_hash(Program(name, module, (TensorSpec("x", shape),), (output,)), runtime, precision)


def test_weights_and_names_do_not_count() -> None:
    assert hash_of(Convolved()) == hash_of(Convolved()) == hash_of(Renamed(), name="b")


def test_a_retrained_network_keeps_its_hashes() -> None:
    first, second = (
        [structure_hash(program, "litert", "int8") for program in cascade_programs(seed)[0]] for seed in (0, 1)
    )
    assert first == second
    assert len(set(first)) == len(first)


@pytest.mark.parametrize(
    "other",
    [
        lambda: hash_of(Convolved(stride=2)),
        lambda: hash_of(Convolved(channels=5)),
        lambda: hash_of(Convolved(scale=2.0)),
        lambda: hash_of(Convolved(), size=32),
        lambda: hash_of(Convolved(), precision="fp32"),
        lambda: hash_of(Convolved(), runtime="executorch"),
    ],
    ids=["stride", "channels", "constant", "size", "precision", "runtime"],
)
def test_anything_else_does(other: object) -> None:
    assert callable(other)
    assert other() != hash_of(Convolved())


def test_versions_count(monkeypatch: pytest.MonkeyPatch) -> None:
    before = hash_of(Convolved())
    monkeypatch.setattr("mobile_export.structure.toolchain", lambda runtime: {"litert-torch": "99"})
    assert hash_of(Convolved()) != before


def test_another_process_gives_the_same_hash() -> None:
    script = "from tiny_network import cascade_programs as c; from mobile_export.structure import structure_hash as h; "
    script += "print(h(c()[0][0], 'litert', 'int8'))"
    tests = Path(__file__).parents[1]
    paths = os.pathsep.join([str(tests), str(tests.parent)])
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": "7"},
    )
    assert found.stdout.strip() == structure_hash(cascade_programs()[0][0], "litert", "int8")


def test_an_unknown_runtime_is_refused() -> None:
    with pytest.raises(InputError, match="unknown runtime"):
        hash_of(Convolved(), runtime="onnx")
