"""Parity gates: ties are the network's own, clear labels the export's; a crash of one part hides none of the others."""

from itertools import pairwise
from pathlib import Path
from typing import Literal

import failing_workers
import msgspec
import numpy as np
import pytest
import torch

from device_profiler.errors import VerificationError
from mobile_export import session
from mobile_export.artifact import Artifact, EntryPoint, Port
from mobile_export.export_worker import export_in_worker
from mobile_export.parity import TOLERANCES, Samples, check_parity
from mobile_export.program import Program, TensorSpec
from mobile_export.worker import WorkerCrash

ENTRIES = ("first", "crash_one", "second", "crash_two", "third")
GENERATOR = np.random.default_rng(0)
EXPECTED = GENERATOR.standard_normal((1, 4, 8, 8)).astype(np.float32)


@pytest.fixture
def echoing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A file whose entries give their inputs back: a sample's inputs are then what the artifact computes."""
    monkeypatch.setattr(session, "_open", failing_workers.open_entries)
    (tmp_path / "echo.pte").write_bytes(b"echo")
    return tmp_path / "echo.pte"


def artifact(path: Path, output: str, shape: tuple[int, ...], dtype: str = "float32") -> Artifact:
    port = Port(TensorSpec(output, shape, dtype))
    entries = tuple(EntryPoint(name, (port,), (port,), ()) for name in ENTRIES)
    return Artifact(str(path), "", 4, "executorch", "int8", entries, {})


def one(found: np.ndarray, expected: np.ndarray) -> Samples:
    return {"first": [((found,), (expected,))]}


def test_every_entry_that_crashes_is_named_and_the_others_are_checked(echoing: Path) -> None:
    samples = {name: [((EXPECTED,), (EXPECTED,))] for name in ENTRIES}
    samples["third"] = [((EXPECTED + 100,), (EXPECTED,))]
    with pytest.raises(VerificationError) as refused:
        check_parity(artifact(echoing, "features", EXPECTED.shape), samples)

    told = str(refused.value)
    assert told.startswith("echo.pte differs from eager PyTorch: ")
    assert [told.count(f"entry '{name}' of echo.pte ended its process") for name in ENTRIES] == [0, 1, 0, 1, 0]
    assert "third.features: error 100 at most" in told


def undecided(share: float) -> np.ndarray:
    """Logits of a network that leaves `share` of its pixels near a tie of two classes and is sure of the others."""
    logits = np.full((1, 4, 100, 10), -1.0, np.float32)
    logits[:, 0], logits[:, 1] = 1.0, 0.0
    logits[:, 1, : round(100 * share)] = 0.999
    return logits


def test_labels_lost_near_a_tie_do_not_fail_the_export(echoing: Path) -> None:
    expected = undecided(0.3)
    found = expected + GENERATOR.normal(scale=0.01, size=expected.shape).astype(np.float32)
    report = check_parity(artifact(echoing, "logits", expected.shape), one(found, expected))

    (row,) = report.outputs
    assert row.label_agreement is not None and row.label_agreement < 0.9
    assert row.clear_agreement == 1.0


def test_clear_labels_that_are_lost_fail_the_export(echoing: Path) -> None:
    found = EXPECTED.copy()
    found[0, :, 0, :2] = -found[0, :, 0, :2]  # 2 of 64 pixels
    with pytest.raises(VerificationError, match=r"of the pixels whose best class leads clearly, not 0\.99"):
        check_parity(artifact(echoing, "logits", EXPECTED.shape), one(found, EXPECTED))


@pytest.mark.parametrize(("wrong", "passes"), [(5, True), (6, False)])
def test_a_label_map_is_held_against_all_its_pixels(wrong: int, passes: bool, echoing: Path) -> None:
    expected = np.zeros((1, 8, 8), np.int32)
    found = expected.copy()
    found.reshape(-1)[:wrong] = 1
    described = artifact(echoing, "labels", expected.shape, "int32")
    if passes:
        assert check_parity(described, one(found, expected)).passed
        return
    with pytest.raises(VerificationError, match=r"labels agree on 0\.9062 of the pixels, not 0\.92"):
        check_parity(described, one(found, expected))


@pytest.mark.parametrize(("layout", "shape"), [("NCHW", (1, 5, 4, 8)), ("NHWC", (1, 4, 8, 5))])
@pytest.mark.parametrize(("wrong", "passes"), [(3, True), (4, False)])
def test_a_confidence_that_counts_positions_may_miss_a_few(
    wrong: int, passes: bool, layout: Literal["NCHW", "NHWC"], shape: tuple[int, ...], echoing: Path
) -> None:
    confidence, logits = Port(TensorSpec("confidence", (1,))), Port(TensorSpec("logits", shape), layout=layout)
    entry = EntryPoint("first", (logits, confidence), (logits, confidence), ())
    described = Artifact(str(echoing), "", 4, "executorch", "fp16", (entry,), {})
    answer = GENERATOR.standard_normal((1, 5, 4, 8)).astype(np.float32)
    told, sure = np.float32([0.5 + wrong / 32]), np.float32([0.5])
    samples: Samples = {"first": [((answer, told), (answer, sure))]}
    tolerance = msgspec.structs.replace(TOLERANCES["fp16"], confidence_flips=3)
    if passes:
        assert check_parity(described, samples, tolerance).passed
    with pytest.raises(VerificationError, match=r"first\.confidence: error"):
        check_parity(described, samples, None if passes else tolerance)


def test_a_narrower_form_is_allowed_less() -> None:
    ordered = [TOLERANCES[precision] for precision in ("fp32", "fp16", "w8", "int8")]
    for narrow, wide in pairwise(ordered):
        assert narrow.clear_agreement >= wide.clear_agreement
        assert narrow.map_agreement > wide.map_agreement
        assert narrow.mean_error < wide.mean_error


class Adds(torch.nn.Module):
    """What exports."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (x + 1,)


@pytest.mark.slow
def test_the_program_that_crashes_an_export_is_named(tmp_path: Path) -> None:
    spec = TensorSpec("x", (1, 3, 8, 8))
    modules = {"sound": Adds(), "deadly": failing_workers.Aborts(), "also_sound": Adds()}
    programs = [Program(name, module.eval(), (spec,), (spec,)) for name, module in modules.items()]
    with pytest.raises(WorkerCrash, match=r"exporting x\.pte .*SIGABRT.*; deadly by itself does$"):
        export_in_worker("executorch", programs, tmp_path / "x.pte", precision="fp32")
    assert not list(tmp_path.iterdir())
