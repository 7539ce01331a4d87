"""An emulated phone in a weather: what its clock suffers follows from the seed, its heat shows, it cools at rest."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from deployed import EXECUTORCH

from device_profiler import conditions, debian, phone_settings
from device_profiler.device import Device, hold, identify, read_state
from device_profiler.emulator.phone import start_phone, stop_phone
from device_profiler.emulator.phone_profile import known_profiles, load_profile
from device_profiler.emulator.vm import VmForm
from device_profiler.emulator.weather import Weather, make_weather
from device_profiler.errors import GoldenDriftError, InputError
from device_profiler.protocol import measure_calls
from device_profiler.runner.client import DEVICE_FOLDER, install
from device_profiler.sampling import BlockEffort
from device_profiler.sustained import measure_sustained
from device_profiler.targets import find_target
from device_profiler.transport import Transport, connect
from device_profiler.workload import Operator, Workload

LIGHT = BlockEffort(launches=2, most_launches=4, iterations=4)
OPERATORS = (Operator("CONV_2D", 2_000_000, 4_000, 30_000, 20_000, True),)
START_C = 41.0


def stormy(seed: int = 4) -> Weather:
    """Noise, and a phone that starts throttled and warms fast."""
    made = make_weather(load_profile("pixel7"), seed=seed, start_c=START_C)
    assert made is not None and made.heat is not None
    return msgspec.structs.replace(made, heat=msgspec.structs.replace(made.heat, tau_s=0.2))


@pytest.fixture(scope="module")
def phones() -> Iterator[list[Transport]]:
    """Two phones in the same weather, and one beside them in another."""
    if not debian.available():
        pytest.skip("emulated phones are built from Debian packages, which can't be fetched here")
    started = [start_phone("pixel7", keep=False, weather=stormy(seed)) for seed in (4, 4, 5)]
    transports = [connect(phone.address) for phone in started]
    yield list(transports)
    for transport, phone in zip(transports, started, strict=True):
        transport.close()
        stop_phone(phone.address)


def run(transport: Transport, deployments: Path) -> list[tuple[int, ...]]:
    runner = install(transport, "executorch")
    calls = EXECUTORCH.calls(deployments)[:2]
    return [one.samples_ns for one in runner.run(EXECUTORCH.path(deployments), calls, warmup=0, iterations=4)]


def test_the_seed_decides_and_the_calm_phone_knows_nothing_of_it(phones: list[Transport], deployments: Path) -> None:
    first, same, other = (run(transport, deployments) for transport in phones)
    for samples, again, others in zip(first, same, other, strict=True):
        assert samples == pytest.approx(again, rel=1e-3), "but for an instruction more or less"
        assert samples != pytest.approx(others, rel=1e-3)
    assert len(set(first[0])) > 1, "noise"
    fingerprints = [identify(transport).fingerprint for transport in phones]
    calm = load_profile("pixel7").identity()
    assert fingerprints[0] == fingerprints[1] != fingerprints[2] and calm in fingerprints[2]
    assert identify(phones[0]).clock == "unsteady"


def test_heat_shows_in_dumpsys_and_goes_at_rest(phones: list[Transport], deployments: Path) -> None:
    phone = phones[0]
    assert phone.shell("echo '0 44000 0' > /vendor/etc/emulator/weather").exit_code == 0
    assert read_state(phone)["thermal_status"] == "2"
    sensors = phone.shell("dumpsys thermalservice").output
    assert "Temperature{mValue=44.0, mType=3, mName=VIRTUAL-SKIN, mStatus=2}" in sensors
    assert phone.shell("cmd thermalservice headroom 20").output == "Headroom in 20 seconds: 0.966667\n"
    slow = min(run(phone, deployments)[0])
    state = conditions.wait_until_fit(phone, pause=conditions.pause_on(phone, identify(phone)))
    assert state["thermal_status"] == "0"
    assert slow > 1.1 * min(run(phone, deployments)[0]), "it throttled"


def test_a_session_on_it_waits_for_the_heat_and_leaves_nothing_changed(
    phones: list[Transport], deployments: Path
) -> None:
    phone = phones[2]
    device = Device(phone, identify(phone))
    works = [Workload(call.entry, call, OPERATORS) for call in EXECUTORCH.calls(deployments)[:2]]
    file = EXECUTORCH.path(deployments)
    measured = [one.measurement for one in measure_calls(device, find_target("pixel7-cpu"), file, works, effort=LIGHT)]
    for one in measured:
        assert one.provenance == "emulated" and one.low_ns <= one.median_ns <= one.high_ns
        assert one.state_before["thermal_status"] == "0" and one.versions["protocol"].startswith("2 ")
        assert len([block for block in one.blocks if block.verdict == "valid"]) >= LIGHT.launches
        assert one.verdict is None
    assert phone.shell("settings get global stay_on_while_plugged_in").output == "null\n"
    assert phone.shell(f"[ -e {phone_settings.JOURNAL} ]").exit_code == 1


def test_a_session_without_a_figure_is_not_collected_again(phones: list[Transport], deployments: Path) -> None:
    """Its launches would give no figure the next time either."""
    phone = phones[2]
    device, call = Device(phone, identify(phone)), EXECUTORCH.calls(deployments)[0]
    effort = dataclasses.replace(LIGHT, launches=1, most_launches=1, drift=1e-12)
    with pytest.raises(GoldenDriftError, match="drifted"):
        measure_calls(device, find_target("pixel7-cpu"), EXECUTORCH.path(deployments),
                      [Workload("key", call, OPERATORS)], effort=effort)
    assert phone.shell(f"ls {DEVICE_FOLDER}/runs").output == ""


@pytest.mark.slow
def test_a_sustained_run_shows_how_the_phone_throttles(phones: list[Transport], deployments: Path) -> None:
    phone = phones[0]
    device, call = Device(phone, identify(phone)), EXECUTORCH.calls(deployments)[0]
    target, file = find_target("pixel7-cpu"), EXECUTORCH.path(deployments)
    curve = measure_sustained(device, target, file, Workload("key", call, OPERATORS), 1)
    assert curve.state_before["thermal_status"] == "0" and int(curve.state_after["thermal_status"]) > 0
    assert curve.slowdown > 1.2 and curve.sustained_ns == pytest.approx(curve.windows[-1].median_ns, rel=0.1)
    starts = [window.start_s for window in curve.windows]
    assert starts == sorted(starts) and 0.8 < starts[-1] < 1.0 and len(starts) >= 10
    assert sum(sum(window.samples_ns) for window in curve.windows) == pytest.approx(1e9, rel=0.1), "without a gap"
    assert phone.shell("settings get global stay_on_while_plugged_in").output == "null\n"


def test_a_sustained_run_that_can_not_be_is_refused_at_once(phones: list[Transport], deployments: Path) -> None:
    device, call = Device(phones[0], identify(phones[0])), EXECUTORCH.calls(deployments)[0]
    target, file = find_target("pixel7-cpu"), EXECUTORCH.path(deployments)
    with pytest.raises(InputError, match=r"1200 s of .* clock would take about 3000 minutes .*give it 12 s or less"):
        measure_sustained(device, target, file, Workload("key", call, OPERATORS), 1200)
    with pytest.raises(InputError, match="pixel7-npu has no throttling curve"):
        measure_sustained(device, find_target("pixel7-npu"), file, Workload("key", call, OPERATORS), 1)


def test_what_a_killed_session_changed_is_undone_by_the_next(phones: list[Transport]) -> None:
    phone, read = phones[1], "settings get global stay_on_while_plugged_in"
    phone.shell("settings put global stay_on_while_plugged_in 3")
    session = phone_settings.steady(phone)
    session.__enter__()  # and then the host is killed: nothing leaves the block
    assert phone.shell(read).output == "15\n"
    assert phone.shell("cat /data/property/fixed_performance").output == "true\n"
    run = f"{DEVICE_FOLDER}/runs/left"
    phone.shell(f"mkdir -p {run}; setsid sh -c 'echo $$ > {run}/pid; exec sleep 600' >/dev/null 2>&1 &"
                f" while [ ! -s {run}/pid ]; do sleep 0.05; done")  # its own number: setsid may fork
    held = hold(Device(phone, identify(phone)))
    assert phone.shell(read).output == "15\n", "not under a run that goes on"
    held.lease.release(phone)  # type: ignore[union-attr]
    phone.shell(f"kill -9 $(cat {run}/pid); rm -r {run}")
    held = hold(Device(phone, identify(phone)))
    assert phone.shell(read).output == "3\n", "whoever takes the phone next restores it"
    held.lease.release(phone)  # type: ignore[union-attr]
    phone_settings.steady(phone).__enter__()
    with phone_settings.steady(phone):
        assert phone.shell(read).output == "15\n"
    assert phone.shell(read).output == "3\n", "not what the killed session had set"
    assert phone.shell("cat /data/property/fixed_performance").output == "false\n"
    assert phone_settings.restore(phone) is False
    with pytest.raises(ValueError, match="in between"), phone_settings.steady(phone):
        raise ValueError("in between")
    assert phone.shell(read).output == "3\n"


def test_every_profile_can_be_disturbed_and_says_where_its_figures_come_from() -> None:
    for name in known_profiles():
        profile = load_profile(name)
        made = make_weather(profile, seed=1, ambient_c=30.0)
        assert made and made.noise and made.heat and made.heat.start_c == made.heat.ambient_c == 30.0
        for described in (profile.noise, profile.heat):
            assert all(item.source for item in msgspec.structs.asdict(described).values())
    assert make_weather(profile) is None


def test_a_profile_of_ones_own(tmp_path: Path) -> None:
    text = Path(conditions.__file__).with_name("emulator").joinpath("pixel7.toml").read_text()
    other = text.replace('name = "pixel7"', 'name = "mine"', 1).replace("count = 4", "count = 2", 1)
    (tmp_path / "mine.toml").write_text(other)
    mine = load_profile(str(tmp_path / "mine.toml"), {"ro.product.model": "Mine"})
    assert (mine.name, len(mine.cores()), mine.properties["ro.product.model"]) == ("mine", 6, "Mine")
    (tmp_path / "bad.toml").write_text(text.replace('name = "pixel7"', 'name = "../up"', 1))
    with pytest.raises(InputError, match="small letters, digits and dashes only"):
        load_profile(str(tmp_path / "bad.toml"))
    (tmp_path / "worse.toml").write_text(text.replace('name = "pixel7"', "name = 3", 1))
    with pytest.raises(InputError, match=r"describes no phone: Expected `str`, got `int` - at `\$\.name`"):
        load_profile(str(tmp_path / "worse.toml"))


def test_a_form_whose_clock_knows_no_weather_refuses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VmForm, "obstacle", lambda self: None)
    with pytest.raises(InputError, match="clock of the vm form of an emulated phone can't be disturbed"):
        start_phone("pixel7", form="vm", weather=stormy())
    with pytest.raises(InputError, match="describes no noise"):
        make_weather(msgspec.structs.replace(load_profile("pixel7"), noise=None), seed=1)
    with pytest.raises(InputError, match="describes no heat"):
        make_weather(msgspec.structs.replace(load_profile("pixel7"), heat=None), ambient_c=20.0)
