"""`profile --sustained` to its end, on a phone that heats up: the curve is in the result, and in the run's report."""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from report_factory import make_report

from device_profiler import debian
from device_profiler.emulator.phone import start_phone, stop_phone
from device_profiler.emulator.phone_profile import load_profile
from device_profiler.emulator.registry import EmulatedPhone
from device_profiler.emulator.weather import make_weather
from device_profiler.errors import InputError
from device_profiler.measurement import DeviceIdentity
from device_profiler.sustained import CurveWindow, ThrottlingCurve
from pipeline.__main__ import run
from pipeline.run_report import JSON_NAME, read_curve, write_report
from pipeline.run_report.wording import duration, ratio

SECONDS = 1
TAU_S = 0.15
"""Time constant of the phone's case: the run is several of them long, so its curve ends level."""


def made_curve() -> ThrottlingCurve:
    identity = DeviceIdentity("HERE", "Pixel 7", "GS201", "arm64-v8a", "14", "f", emulated=True, clock="unsteady")
    windows = tuple(
        CurveWindow(10.0 * n, 1e6 * (10 + n), 1e6 * (11 + n), (1_000_000 * (10 + n),)) for n in range(20)
    )
    return ThrottlingCurve("key", "block_5", "pixel7-cpu", "cpu", "emulated", 200, windows, identity,
                           {"thermal_status": "0"}, {"thermal_status": "2"}, {})  # fmt: skip


def reported(folder: Path) -> str:
    """The page of the run in `folder`, made again."""
    write_report(make_report(), folder / JSON_NAME)
    assert run(["report", "--run", str(folder)]) == 0
    return (folder / "report.html").read_text()


def test_the_report_shows_the_curve_of_its_run(tmp_path: Path) -> None:
    assert 'data-chart="sustained"' not in reported(tmp_path), "nobody took one"
    curve = made_curve()
    (tmp_path / "sustained.json").write_bytes(msgspec.json.encode(curve))
    page = reported(tmp_path)
    told = page[page.index('id="sustained"') : page.index("Every part that was profiled")]
    assert 'data-chart="sustained"' in told and told.count('<tr><th scope="row">') == 12
    for figure in (duration(curve.burst_ns), duration(curve.sustained_ns), ratio(curve.slowdown), "block_5",
                   "0 before, 2 after", "badge emulated"):  # fmt: skip
        assert figure in told


def test_a_file_that_is_no_curve_is_told(tmp_path: Path) -> None:
    (tmp_path / "sustained.json").write_text('{"windows": 3}')
    with pytest.raises(InputError, match=r"sustained\.json is no throttling curve .*: remove it, or take it again"):
        read_curve(tmp_path)


@pytest.fixture
def warming() -> Iterator[EmulatedPhone]:
    """A cool phone whose heat comes and goes within seconds of its clock."""
    if not debian.available():
        pytest.skip("emulated phones are built from Debian packages, which can't be fetched here")
    made = make_weather(load_profile("pixel7"), ambient_c=25.0)
    assert made is not None and made.heat is not None
    fast = msgspec.structs.replace(made, heat=msgspec.structs.replace(made.heat, tau_s=TAU_S))
    phone = start_phone("pixel7", keep=False, weather=fast)
    yield phone
    stop_phone(phone.address)


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_a_sustained_profile_to_its_end(
    warming: EmulatedPhone, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["profile", "--target", "pixel7-cpu", "--preset", "smoke", "--device", warming.address, "--run",
             str(tmp_path)]  # fmt: skip
    assert run([*words, "--sustained", f"{SECONDS}s", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    curve = read_curve(tmp_path)
    assert curve is not None and told["slowdown"] == curve.slowdown and Path(told["sustained"]).parent == tmp_path
    assert told["curve"] == json.loads((tmp_path / "sustained.json").read_text())
    medians = [window.median_ns for window in curve.windows]
    assert len(medians) >= 15 and curve.seconds == SECONDS
    assert sum(sum(window.samples_ns) for window in curve.windows) == pytest.approx(SECONDS * 1e9, rel=0.1)
    assert all(later > 0.97 * earlier for earlier, later in pairwise(medians)), "it only gets slower"
    quarter = len(medians) // 4
    assert max(medians[-quarter:]) < 1.05 * min(medians[-quarter:]), "and then it is level"
    assert curve.slowdown > 1.15 and curve.burst_ns < 1.1 * min(medians)
    assert curve.state_before["thermal_status"] == "0" < curve.state_after["thermal_status"]
    assert curve.provenance == "emulated" and not curve.note
    page = reported(tmp_path)
    assert duration(curve.sustained_ns) in page and ratio(curve.slowdown) in page and curve.entry in page
