"""int8 of a LiteRT file: exact images, equal hand-overs, biases that fit, comparisons on the integers."""

from pathlib import Path

import numpy as np
import pytest
from tiny_conversion import Converted
from tiny_network import Samples

from device_profiler.errors import VerificationError
from mobile_export import quantize
from mobile_export.artifact import Artifact, EntryPoint, Quantization
from mobile_export.boundary import to_real, to_stored
from mobile_export.handover import Handover, handovers
from mobile_export.parity import check_parity
from mobile_export.session import HostSession


def test_an_image_is_stored_exactly(converted: Converted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    artifact = converted.export(monkeypatch, tmp_path / "x.tflite")
    port = artifact.entry("stage_0").inputs[0]
    ramp = np.arange(256, dtype=np.float32).repeat(48).reshape(1, 3, 64, 64)

    assert port.quantization == Quantization(1.0, -128)
    assert np.array_equal(to_stored(port, ramp).transpose(0, 3, 1, 2).astype(int), ramp.astype(int) - 128)
    assert np.array_equal(to_real(port, to_stored(port, ramp)), ramp)


def test_both_sides_of_every_hand_over_are_equal(
    converted: Converted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    artifact = converted.export(monkeypatch, tmp_path / "x.tflite")
    first, second = artifact.entry("stage_0"), artifact.entry("stage_1")

    assert first.outputs[0].quantization == second.inputs[0].quantization
    assert first.outputs[1].quantization == artifact.entry("finish_0").inputs[0].quantization
    assert first.outputs[0].quantization != first.outputs[1].quantization


def test_a_hand_over_whose_sides_differ_fails_the_export(
    converted: Converted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(quantize, "_fix_handovers", lambda *_: None)
    with pytest.raises(VerificationError, match=r"stage_0 hands on .* they must be equal"):
        converted.export(monkeypatch, tmp_path / "x.tflite")
    assert not list(tmp_path.iterdir())


def test_confidences_have_the_whole_range(
    converted: Converted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    confidence = converted.export(monkeypatch, tmp_path / "x.tflite").entry("stage_0").outputs[2]
    assert to_real(confidence, np.array([-128, 127], np.int8)) == pytest.approx([0.0, 1.0])


def test_dead_channels_turn_to_noise_unless_their_biases_fit(
    converted: Converted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cured = converted.export(monkeypatch, tmp_path / "cured.tflite")
    assert check_parity(cured, converted.samples).passed

    monkeypatch.setattr(quantize, "_fit_biases", lambda *_: None)
    with np.errstate(all="ignore"):
        broken = converted.export(monkeypatch, tmp_path / "broken.tflite")
    assert dead_channel_error(broken, converted.samples) > 10 * dead_channel_error(cured, converted.samples)


def dead_channel_error(artifact: Artifact, samples: Samples) -> float:
    """Mean error of the features' channel whose weights are dead."""
    entry = artifact.entry("stage_0")
    errors = []
    with HostSession(Path(artifact.path), "litert") as session:
        for (image,), expected in samples["stage_0"]:
            features = to_real(entry.outputs[0], session.run("stage_0", (to_stored(entry.inputs[0], image),))[0])
            errors.append(np.abs(features - expected[0])[:, 1].mean())
    return float(np.mean(errors))


def test_comparing_operators_stay_on_the_integers(
    converted: Converted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cured = converted.export(monkeypatch, tmp_path / "x.tflite")
    assert kinds(cured.entry("finish_0")) == ["RESIZE_BILINEAR", "ARG_MAX"]
    assert kinds(cured.entry("stage_0"))[-3:] == ["SOFTMAX", "REDUCE_MAX", "MEAN"]

    monkeypatch.setattr(quantize, "keep_integer", lambda content: content)
    with pytest.raises(VerificationError, match="off the integers"):
        converted.export(monkeypatch, tmp_path / "y.tflite")


def kinds(entry: EntryPoint) -> list[str]:
    return [operator.kind for operator in entry.operators]


def test_hand_overs_of_a_cascade_and_of_parts() -> None:
    assert handovers(("stage_0", "stage_1", "finish_0")) == (
        Handover("stage_0", 0, "stage_1"),
        Handover("stage_0", 1, "finish_0"),
    )
    assert handovers(("block_0", "head_0_fcn_r1", "block_1", "head_1_fcn_r1", "finish_0")) == (
        Handover("block_0", 0, "head_0_fcn_r1"),
        Handover("block_0", 0, "block_1"),
        Handover("block_1", 0, "head_1_fcn_r1"),
    )
    assert handovers(("segment", "prefix_1_fcn_r1")) == ()
