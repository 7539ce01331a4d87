"""Farms of real processes on loopback."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.farm.site import Site

pytest.importorskip("distributed", reason="the extra 'farm' is not installed")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Ends whatever a test started, phones included. Credentials of the user's are not found."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with Site(tmp_path) as opened:
        yield opened
