"""One emulated phone for these tests; sabotage is theirs alone."""

from collections.abc import Iterator

import pytest

from device_profiler import debian
from device_profiler.emulator.phone import start_phone, stop_phone
from device_profiler.emulator.registry import EmulatedPhone, list_phones
from tests.device_profiler.conftest import deployments as deployments


@pytest.fixture(scope="module")
def phone() -> Iterator[EmulatedPhone]:
    """A real adbd that may be harmed."""
    if not debian.available():
        pytest.skip("emulated phones are built from Debian packages, which can't be fetched here")
    started = start_phone("pixel7", keep=False)
    yield started
    if started in list_phones():
        stop_phone(started.address)
