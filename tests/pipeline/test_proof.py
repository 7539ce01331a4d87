"""A shipped file that does not do what was searched is refused: answers are injected, everything else is real."""

from types import SimpleNamespace

import numpy as np
import pytest

from device_profiler.errors import VerificationError
from mobile_export.artifact import Artifact, EntryPoint
from pipeline import proof
from pipeline.exact_search.configuration import Configuration
from pipeline.exit_statistics import ExitStatistics

IMAGES, CLASSES = 8, 2
CONFIGURATION = Configuration("adaptive", (0, 1), ("a", "a"), (0.5,))


def statistics() -> ExitStatistics:
    confidence = np.tile(np.array([0.9, 0.1], np.float32), IMAGES // 2)
    union = np.full((2, 1, IMAGES, CLASSES), 100)
    return ExitStatistics(
        confidence=np.stack([confidence, confidence])[:, None], intersection=union // 2, union=union,
        exits=("exit1", "exit2"), heads=(("a",), ("a",)), classes=("x", "y"),
        images=tuple(str(i) for i in range(IMAGES)), reference=(1, 0), policy="mean", precision="fp32",
    )


def answers(**changes: np.ndarray) -> proof.Answers:
    known = statistics()
    right = {
        "exits": np.tile([0, 1], IMAGES // 2), "confidences": known.confidence[0, 0][:, None].astype(np.float64),
        "intersection": known.intersection[0, 0], "union": known.union[0, 0],
        "sample_labels": np.zeros((2, 2), np.int64),
    }
    return proof.Answers(**{**right, **changes})


def proved(monkeypatch: pytest.MonkeyPatch, given: proof.Answers) -> proof.Proof:
    monkeypatch.setattr(proof, "_answers", lambda *_: given)
    artifact = Artifact("model.pte", "", 1, "executorch", "fp32", (EntryPoint("stage_0", (), (), ()),), {})
    shipment = SimpleNamespace(configuration=CONFIGURATION, artifact=artifact)
    return proof.prove(shipment, None, statistics(), None)  # type: ignore[arg-type]


def test_right_answers_are_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    found = proved(monkeypatch, answers())
    assert (found.miou, found.flipped, found.near_threshold) == (0.5, 0, 0)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"exits": np.ones(IMAGES, np.int64)}, "leave at another exit"),
        ({"confidences": np.full((IMAGES, 1), 0.8)}, "a confidence of the exported file"),
        ({"intersection": np.full((IMAGES, CLASSES), 49)}, "its statistics say 0.5000"),
    ],
)
def test_wrong_answers_are_refused(monkeypatch: pytest.MonkeyPatch, wrong: dict[str, np.ndarray], text: str) -> None:
    with pytest.raises(VerificationError, match=text):
        proved(monkeypatch, answers(**wrong))
