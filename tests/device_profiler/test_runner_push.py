"""A push that hangs is made again: what a runner needs gets to the phone, or the error says so."""

from pathlib import Path

import pytest

from device_profiler.runner.client import _push_again_if_stuck
from device_profiler.transport import DeviceTimeoutError


class Stuck:
    """Fault injection: a link whose first `hangs` pushes end by their timeout."""

    address = "stuck:1"

    def __init__(self, hangs: int) -> None:
        self.hangs, self.pushes, self.closed = hangs, 0, 0

    def push(self, local: Path, remote: str, *, timeout_s: float) -> bool:
        self.pushes += 1
        if self.pushes <= self.hangs:
            raise DeviceTimeoutError("no answer")
        return True

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize(("hangs", "pushes"), [(0, 1), (1, 2), (2, 3)])
def test_a_push_is_made_again_on_a_new_connection(tmp_path: Path, hangs: int, pushes: int) -> None:
    file = tmp_path / "archive.tar"
    file.write_bytes(b"x")
    link = Stuck(hangs)
    _push_again_if_stuck(link, file, "/data/archive.tar")  # type: ignore[arg-type]
    assert (link.pushes, link.closed) == (pushes, hangs)


def test_a_link_that_stays_stuck_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "archive.tar"
    file.write_bytes(b"x")
    with pytest.raises(DeviceTimeoutError):
        _push_again_if_stuck(Stuck(9), file, "/data/archive.tar")  # type: ignore[arg-type]
