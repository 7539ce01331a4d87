"""Held-out images as a network that takes frames sees them: made once, of the data's own masks and ids."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from device_profiler.errors import InputError
from mobile_export.frame_images import frame_of, shrunk
from pipeline.data import DataAmounts, DataSource, load_source
from pipeline.progress import SilentProgress
from pipeline.seen import as_seen
from pipeline.workspace import Workspace

SIZE, FRAME = (32, 64), (96, 128)
AMOUNTS = DataAmounts(train=2, search=3, certify=0, test=2)


@pytest.fixture
def workspace(own_cache: Path, tmp_path: Path) -> Workspace:
    return Workspace(tmp_path, SilentProgress())


@pytest.fixture
def source(workspace: Workspace) -> DataSource:
    return load_source("shapes", size=SIZE, area=0, amounts=AMOUNTS)


def test_held_out_images_are_what_the_graph_makes_of_frames(source: DataSource, workspace: Workspace) -> None:
    seen = as_seen(source, FRAME, workspace)
    assert (seen.train, seen.size, seen.classes) == (source.train, source.size, source.classes)
    assert [len(seen.split(name)) for name in ("search", "certify", "test")] == [3, 0, 2]
    for before, after in zip(source.test, seen.test, strict=True):
        assert np.array_equal(after.image, shrunk(frame_of(before.image, FRAME), SIZE))
        assert np.array_equal(after.mask, before.mask) and after.id == before.id
    assert not np.array_equal(seen.test[0].image, source.test[0].image)  # white beside black: nearly, not quite


def test_they_are_made_once_and_never_taken_for_others(
    source: DataSource, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = as_seen(source, FRAME, workspace)
    monkeypatch.setattr("pipeline.seen.frame_of", None)
    again = as_seen(source, FRAME, workspace)
    assert again.fingerprint == first.fingerprint != source.fingerprint
    assert np.array_equal(again.test[1].image, first.test[1].image)
    for other in (replace(source, fingerprint="other pixels"), source):
        with pytest.raises(TypeError):
            as_seen(other, FRAME if other is not source else (64, 128), workspace)


def test_a_frame_that_does_not_fit_is_refused(source: DataSource, workspace: Workspace) -> None:
    with pytest.raises(InputError, match="--frame 100x96 can't be resized to the network's 64x32"):
        as_seen(source, (96, 100), workspace)
