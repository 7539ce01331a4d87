"""Targets: every unit of every known phone is reached or says why not, and a wrong name gets one helpful line."""


import pytest

from device_profiler.device import open_device
from device_profiler.emulator.phone_profile import known_profiles
from device_profiler.errors import DeviceError, InputError
from device_profiler.prediction import load_model
from device_profiler.targets import Target, all_targets, find_target, timed_target, unreached_units
from mobile_export.exporters import _MODULES

PHONES = {
    "Pixel 7", "Pixel 8", "Pixel 9", "Galaxy S23", "Galaxy S24", "vivo X100",
    "iPhone 13", "iPhone 14", "iPhone 15", "iPhone 16", "iPad (A16)",
}  # fmt: skip


def test_every_unit_of_every_phone_is_reached_or_says_why_not() -> None:
    reached = {(target.device, target.unit) for target in all_targets()}
    unreached = {(unit.device, unit.unit): unit for unit in unreached_units()}

    assert {device for device, _ in reached} == PHONES
    assert reached.isdisjoint(unreached)
    assert reached | set(unreached) == {(phone, unit) for phone in PHONES for unit in ("cpu", "gpu", "npu")}
    assert all(unit.why and set(unit.instead) <= {t.name for t in all_targets()} for unit in unreached.values())


def test_names_differ_and_say_the_precision_where_it_is_not_the_usual_one() -> None:
    names = [target.name for target in all_targets()]
    assert len(set(names)) == len(names)
    assert (find_target("pixel7-cpu").precision, find_target("pixel7-cpu-int8").precision) == ("fp32", "int8")


@pytest.mark.parametrize("target", all_targets(), ids=lambda target: target.name)
def test_a_target_has_an_exporter_and_a_source_of_latency_or_a_reason(target: Target) -> None:
    assert target.runtime in _MODULES
    if target.emulated:
        assert target.emulated in known_profiles()
    if target.device_model:
        assert load_model(target.device_model).name == target.device_model
    assert bool(target.untimed) != bool(target.properties and (target.unit == "cpu" or target.device_model))


def test_a_unit_that_nothing_reaches_says_why_and_what_there_is_instead() -> None:
    with pytest.raises(InputError, match=r"NPU of a vivo X100: .*NeuroPilot.*choose one of dimensity9300-cpu, "):
        find_target("dimensity9300-npu")


def test_an_unknown_target_gets_the_nearest_one() -> None:
    with pytest.raises(InputError, match=r"'pixel7-nu'; did you mean 'pixel7-npu'\?.*iphone16"):
        find_target("pixel7-nu")


def test_a_target_that_nothing_here_times_is_exported_only() -> None:
    assert find_target("iphone15-npu").suffix == ".mlpackage"
    with pytest.raises(InputError, match=r"iphone15-npu can be exported but not timed.*`export`.*`devices import`"):
        timed_target("iphone15-npu")


def test_a_phone_without_an_emulated_one_has_to_be_there() -> None:
    with pytest.raises(DeviceError, match=r"no Pixel 8 is attached, and there is no emulated one; attach one"):
        open_device("emulated", find_target("pixel8-cpu"))
