"""Several phones at once: the same figures as one at a time; what fails on one leaves the others alone."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from deployed import EXECUTORCH

from device_profiler import debian, fleet, standing
from device_profiler.device import Device
from device_profiler.emulator.phone import start_phone, stop_phone
from device_profiler.emulator.registry import EmulatedPhone, list_phones
from device_profiler.errors import DeviceError, InputError, InvalidMeasurementError, UnavailableError, VerificationError
from device_profiler.fleet import Fleet, open_all, open_several, run_on_each
from device_profiler.protocol import measure_calls
from device_profiler.targets import find_target
from device_profiler.transport import ConnectionLostError
from device_profiler.workload import Operator, Workload

PHONES = 4
ALLOCATOR_NS = 30
"""What the allocator's state may shift a sample of the virtual clock by."""
OPERATORS = (Operator("CONV_2D", 2_000_000, 4_000, 30_000, 20_000, True),)


@pytest.fixture(scope="module")
def phones() -> Iterator[list[EmulatedPhone]]:
    if not debian.available():
        pytest.skip("emulated phones are built from Debian packages, which can't be fetched here")
    started: list[EmulatedPhone] = []
    try:
        for _ in range(PHONES):
            started.append(start_phone("pixel7", keep=False))
        yield started
    finally:
        for phone in started:
            if phone in list_phones():
                stop_phone(phone.address)


@pytest.fixture
def together(phones: list[EmulatedPhone]) -> Iterator[Fleet]:
    with open_several([phone.address for phone in phones], find_target("pixel7-cpu")) as opened:
        yield opened
    for device in opened.devices:
        standing.release(device.key)


def medians(device: Device, deployments: Path) -> dict[str, float]:
    workloads = [Workload(call.entry, call, OPERATORS) for call in EXECUTORCH.calls(deployments)]
    measured = measure_calls(device, find_target("pixel7-cpu"), EXECUTORCH.path(deployments), workloads)
    return {one.measurement.entry: one.measurement.median_ns for one in measured}


def test_four_phones_at_once_give_the_figures_of_one_at_a_time(together: Fleet, deployments: Path) -> None:
    alone = medians(together.devices[0], deployments)
    results = run_on_each(together, lambda device: medians(device, deployments))
    assert [one.ended.outcome for one in results] == ["done"] * PHONES
    for one in results:
        assert one.ended.result is not None
        assert one.ended.result == pytest.approx(alone, rel=0, abs=ALLOCATOR_NS)


def test_what_fails_on_one_phone_leaves_the_others_alone(together: Fleet) -> None:
    """Retried is what may go better; a model's fault is not."""
    tries: dict[str, int] = {}
    ill, invalid, wrong, well = (device.key for device in together.devices)

    def job(device: Device) -> str:
        tries[device.key] = tries.get(device.key, 0) + 1
        if device.key == ill and tries[ill] == 1:
            raise ConnectionLostError("the cable was pulled")
        if device.key == invalid:
            raise InvalidMeasurementError("it drifted")
        if device.key == wrong:
            raise VerificationError("another mask")
        return device.transport.shell("echo fine").output

    ended = {one.device.key: one.ended for one in run_on_each(together, job)}
    assert (ended[ill].outcome, ended[ill].attempts, ended[ill].result) == ("done", 2, "fine\n")
    assert (ended[invalid].outcome, ended[invalid].attempts) == ("invalid measurement", 2)
    assert (ended[wrong].outcome, ended[wrong].attempts) == ("model fault", 1)
    assert (ended[well].outcome, ended[well].attempts) == ("done", 1)
    assert standing.standing_of(invalid).faults == (), "an invalid measurement says nothing of the cable"
    assert standing.standing_of(ill).faults == (), "it did what it was asked to in the end"


def test_three_infrastructure_faults_in_a_row_set_a_phone_aside(phones: list[EmulatedPhone]) -> None:
    target, address = find_target("pixel7-cpu"), phones[0].address

    def broken(device: Device) -> None:
        raise DeviceError("the storage is full")

    with open_several([address], target) as opened:
        [one] = run_on_each(opened, broken)
        key = opened.devices[0].key
    assert one.ended.attempts == 2 and standing.standing_of(key).quarantined is None
    try:
        with open_several([address], target) as opened:
            [one] = run_on_each(opened, broken)
        assert one.ended.attempts == 1, "the third fault ends the tries"
        with pytest.raises(UnavailableError, match=rf"{address} is set aside.*3 infrastructure faults.*self-test"):
            open_several([address], target)
    finally:
        standing.release(key)
    open_several([address], target).__exit__(None, None, None)


def test_all_takes_what_is_free_and_says_what_it_passed_over(
    phones: list[EmulatedPhone], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = find_target("pixel7-cpu")
    kept = [_shared(phone) for phone in phones]
    monkeypatch.setattr(fleet, "list_phones", lambda: kept)
    monkeypatch.setattr(fleet, "attached_phones", lambda: ("NOSUCHPHONE",))
    with open_several([phones[1].address], target), open_all(target) as opened:
        assert len(opened.devices) == PHONES - 1
        told = " ".join(opened.passed_over)
        assert f"{phones[1].address} is busy" in told and "NOSUCHPHONE" in told
    with pytest.raises(DeviceError, match="no phone for pixel7-cpu is free"):
        open_all(target, require_device=True)


def _shared(phone: EmulatedPhone) -> EmulatedPhone:
    return EmulatedPhone(phone.address, phone.form, phone.profile, phone.folder, phone.pid, phone.started, True)


def test_a_phone_named_twice_is_bad_input(phones: list[EmulatedPhone]) -> None:
    with pytest.raises(InputError, match="named twice"):
        open_several([phones[0].address] * 2, find_target("pixel7-cpu"))
