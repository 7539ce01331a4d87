"""Qualcomm's libraries: never fetched unasked, and their absence is one line that says what to do."""

from pathlib import Path

import pytest

from device_profiler.errors import InputError
from mobile_export import qnn_sdk
from mobile_export.exporters import exporter, toolchain
from mobile_export.program import Program, TensorSpec
from mobile_export.runtimes import load


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_nothing_is_fetched_before_the_licence_is_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    assert qnn_sdk.main([]) == 2
    assert "Qualcomm's licence" in capsys.readouterr().err
    assert not qnn_sdk.folder().exists()


def test_exporting_and_running_without_the_libraries_says_what_to_do(tmp_path: Path) -> None:
    import torch

    spec = TensorSpec("x", (1, 3, 8, 8))
    program = Program("odd", torch.nn.Identity(), (spec,), (spec,))
    with pytest.raises(InputError, match=r"run `python -m mobile_export\.qnn_sdk --accept-licence`"):
        exporter("executorch-qnn-sm8550")((program,), tmp_path / "x.pte", precision="fp16")
    with pytest.raises(InputError, match="QNN libraries are not here"):
        load(tmp_path / "x.pte", "executorch-qnn-sm8550", 1)


def test_the_toolchain_names_the_librarys_version() -> None:
    assert toolchain("executorch-qnn-sm8650")["onnxruntime-qnn"] == qnn_sdk.VERSION
