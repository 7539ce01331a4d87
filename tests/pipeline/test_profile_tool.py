"""`profile --tool`: LiteRT's benchmark_model in place of our runners."""

import json
from pathlib import Path

import pytest

from device_profiler import debian
from device_profiler.errors import InputError
from device_profiler.store import Store
from pipeline.__main__ import run

OUTPUT = (Path(__file__).parents[1] / "golden" / "benchmark_model" / "nnapi.txt").read_text()


@pytest.fixture
def tool(tmp_path: Path) -> Path:
    """A stand-in that prints what the real tool prints."""
    path = tmp_path / "benchmark_model"
    path.write_text(f"#!/system/bin/sh\ncat <<'END'\n{OUTPUT}END\n")
    path.chmod(0o755)
    return path


def test_a_tool_is_checked_before_anything_begins(tool: Path) -> None:
    with pytest.raises(InputError, match="does not reach target pixel7-cpu"):
        run(["profile", "--target", "pixel7-cpu", "--tool", str(tool)])
    with pytest.raises(InputError, match="is no file"):
        run(["profile", "--target", "pixel7-npu", "--tool", str(tool.with_name("other"))])
    tool.chmod(0o644)
    with pytest.raises(InputError, match="is not executable"):
        run(["profile", "--target", "pixel7-npu", "--tool", str(tool)])


@pytest.mark.slow
@pytest.mark.skipif(not debian.available(), reason="Debian packages can't be fetched here")
def test_a_network_is_profiled_by_the_tool(tool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, folder = str(tmp_path / "store.sqlite"), str(tmp_path / "run")
    words = ["profile", "--target", "pixel7-npu", "--preset", "smoke", "--device", "emulated", "--tool", str(tool)]
    for reused in (False, True):
        assert run([*words, "--run", folder, "--store", store, "--json"]) == 0
        result = json.loads(capsys.readouterr().out)
        assert result["provenance"] == "emulated"
        assert {part["median_ns"] for part in result["parts"].values()} == {2_225_000.0}
        assert (result["measured"] == 0) == reused
    table = json.loads((tmp_path / "run" / "latency.json").read_text())
    assert table["blocks"][1] == 2_225_000.0 and table["boundary_ns"] == 0.0
    with Store(store) as kept:
        measured = [one.measurement for one in kept.find()]
        assert all(kept.operators(one.key) for one in measured)
    assert {one.versions["protocol"].split()[0] for one in measured} == {"benchmark_model"}
