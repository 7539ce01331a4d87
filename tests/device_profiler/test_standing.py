"""What the end of a job says of a phone, and what is tried again."""

from pathlib import Path

import pytest

from device_profiler import standing
from device_profiler.errors import (
    DeviceError,
    GoldenDriftError,
    InputError,
    InvalidMeasurementError,
    PipelineError,
    UnavailableError,
    VerificationError,
)
from device_profiler.outcomes import attempt, outcome_of
from device_profiler.standing import MOST_FAULTS, check_standing, note_end, note_good, quarantine, release, standing_of
from device_profiler.transport import ConnectionLostError, DeviceTimeoutError

KEY = "PHONE1"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.mark.parametrize(("error", "outcome"), [
    (VerificationError("x"), "model fault"), (InputError("x"), "model fault"),
    (ConnectionLostError("x"), "infrastructure fault"), (DeviceTimeoutError("x"), "infrastructure fault"),
    (InvalidMeasurementError("x"), "invalid measurement"), (UnavailableError("x"), "not available"),
])
def test_outcomes_are_told_apart(error: PipelineError, outcome: str) -> None:
    assert outcome_of(error) == outcome


def test_three_faults_in_a_row_and_only_in_a_row() -> None:
    for _ in range(MOST_FAULTS - 1):
        note_end(KEY, DeviceError("full"))
    note_end(KEY, None)
    for _ in range(MOST_FAULTS - 1):
        assert note_end(KEY, DeviceError("full")).quarantined is None
    for harmless in (InputError("typo"), VerificationError("mask"), InvalidMeasurementError("hot"),
                     UnavailableError("busy"), KeyboardInterrupt()):
        assert note_end(KEY, harmless).quarantined is None
    assert "3 infrastructure faults in a row, the last: away" in (note_end(KEY, DeviceError("away")).quarantined or "")
    with pytest.raises(UnavailableError, match=r"HERE is set aside since 20\d\d-.*devices self-test HERE"):
        check_standing(KEY, "HERE")
    note_good(KEY)
    assert standing_of(KEY).quarantined, "only a self-test takes it back"
    release(KEY)
    check_standing(KEY, "HERE")


def test_a_drifting_golden_model_sets_a_phone_aside_at_once() -> None:
    assert "its golden model drifted: 7 %" in (note_end(KEY, GoldenDriftError("7 %")).quarantined or "")
    assert "7 %" in (quarantine(KEY, "another reason").quarantined or ""), "the first reason stays"


def test_a_damaged_record_is_named() -> None:
    quarantine(KEY, "why")
    standing._file(KEY).write_text("{")
    with pytest.raises(InputError, match=f"{KEY}.json can't be read"):
        check_standing(KEY, "HERE")


@pytest.mark.parametrize(("error", "tries"), [
    (DeviceError("x"), 3), (InvalidMeasurementError("x"), 3), (VerificationError("x"), 1), (InputError("x"), 1),
    (UnavailableError("x"), 1),
])
def test_retried_is_only_what_may_go_better(error: PipelineError, tries: int) -> None:
    def job() -> None:
        raise error

    ended = attempt(job, attempts=3)
    assert (ended.attempts, ended.error, ended.outcome) == (tries, error, outcome_of(error))
