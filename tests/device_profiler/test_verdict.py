"""What proves that an accelerator ran, and what the phone's own witnesses look like as text."""

from dataclasses import replace
from pathlib import Path

import pytest
from local_transport import LocalTransport

from device_profiler.device import read_state
from device_profiler.intervals import Interval
from device_profiler.transport import ShellResult
from device_profiler.verdict import Evidence, judge
from device_profiler.witness import Growth, Reading, growth, parse_rails, read_witness

GOLDEN = Path(__file__).parents[1] / "golden" / "dumpsys"
FAST, SLOW = Interval(2e6, 1.9e6, 2.1e6), Interval(9e6, 8.8e6, 9.2e6)
EVIDENCE = Evidence("npu", 100, Growth(), Growth(), delegated=True, time=FAST, control=SLOW)


def rails(during: float, resting: float) -> Evidence:
    return replace(EVIDENCE, during=Growth(2.0, None, {"TPU": during}), resting=Growth(2.0, None, {"TPU": resting}))


@pytest.mark.parametrize(
    ("evidence", "kind", "reason"),
    [
        (EVIDENCE, "PLAUSIBLE", "control takes 4.50 times as long"),
        (replace(EVIDENCE, during=Growth(1.0, 100)), "PROVEN", "grew by 100, exactly the runs"),
        (replace(EVIDENCE, during=Growth(1.0, 0)), "REFUTED", "grew by 0, there were 100 runs"),
        (replace(EVIDENCE, during=Growth(1.0, 60)), "REFUTED", "grew by 60, there were 100 runs"),
        (replace(EVIDENCE, during=Growth(1.0, 130)), "PLAUSIBLE", "somebody else used it too"),
        (rails(900.0, 20.0), "PROVEN", "TPU drew 450.0 mW during the runs, 10.0 mW at rest"),
        (rails(21.0, 20.0), "REFUTED", "TPU drew 10.5 mW"),
        (rails(40.0, 20.0), "PLAUSIBLE", "TPU drew 20.0 mW"),
        (rails(0.0, 0.0), "REFUTED", "TPU drew 0.0 mW"),
        (replace(EVIDENCE, delegated=False), "REFUTED", "does not say that the delegate took the whole graph"),
        (replace(EVIDENCE, fallbacks=("RESIZE",)), "REFUTED", "fell off the delegate undeclared: RESIZE"),
        (replace(EVIDENCE, fallbacks=("RESIZE",), during=Growth(1.0, 100)), "REFUTED", "exactly the runs"),
        (replace(EVIDENCE, control=Interval(2.1e6, 2e6, 2.2e6)), "REFUTED", "not distinct"),
        (replace(EVIDENCE, control=Interval(2.15e6, 2.12e6, 2.2e6)), "REFUTED", "not distinct"),
        (replace(EVIDENCE, control=Interval(1e6, 0.9e6, 1.1e6)), "PLAUSIBLE", "0.50 times as long"),
        (replace(EVIDENCE, control=None), "REFUTED", "no forced-CPU control"),
        (replace(EVIDENCE, control=None, during=Growth(1.0, 100)), "PROVEN", "exactly the runs"),
    ],
)
def test_what_proves_and_what_refutes(evidence: Evidence, kind: str, reason: str) -> None:
    verdict = judge(evidence)
    assert verdict.kind == kind and any(reason in told for told in verdict.reasons), verdict
    assert str(verdict) == f"{kind} (npu)"


def test_an_emulated_phones_verdict_says_so() -> None:
    verdict = judge(replace(EVIDENCE, during=Growth(1.0, 100), emulated=True))
    assert str(verdict) == "PROVEN (emulated npu)" and "no accelerator exists there" in verdict.reasons[-1]


@pytest.mark.parametrize("name", ["power_hal", "power_hal_delta"])
def test_rails_of_a_unit_in_the_power_hals_dump(name: str) -> None:
    text = (GOLDEN / f"{name}.txt").read_text()
    assert parse_rails(text, "npu") == {"S10M_VDD_TPU": 7512.25}
    assert parse_rails(text.replace("\n", "\r\n"), "gpu") == {"S8S_VDD_G3D_L2": 1200.5, "S2S_VDD_G3D": 90112.75}
    cut = text[: text.index("End of PowerStats HAL 2.0 energy m")]
    assert parse_rails(text, "cpu") == {} == parse_rails(cut, "npu")


def test_channels_without_energies_are_no_rails() -> None:
    assert parse_rails((GOLDEN / "powerstats.txt").read_text(), "npu") == {}


class Told(LocalTransport):
    """A phone that answers every command with one text."""

    text = ""

    def shell(self, command: str, *, timeout_s: float = 30.0) -> ShellResult:
        return ShellResult(0, self.text)


def test_a_reading_takes_what_the_phone_tells() -> None:
    phone = Told()
    phone.text = f"1234.56 99.1\n__next__\n17 4\n__next__\n{(GOLDEN / 'power_hal.txt').read_text()}"
    assert read_witness(phone, "npu") == Reading(1234.56, 21, {"S10M_VDD_TPU": 7512.25})
    phone.text = "1234.56 99.1\n__next__\n__next__\nCan't find service\n"
    assert read_witness(phone, "npu") == Reading(1234.56, None, {})


def test_growth_counts_only_what_was_told_both_times() -> None:
    before, after = Reading(10.0, 5, {"A": 1.0, "B": 2.0}), Reading(12.0, 9, {"A": 4.0})
    assert growth(before, after) == Growth(2.0, 4, {"A": 3.0})
    assert growth(replace(before, inferences=None), after).inferences is None
    assert growth(before, after) + Growth(1.0, None, {"A": 1.0, "C": 2.0}) == Growth(3.0, 4, {"A": 4.0, "C": 2.0})


def test_the_state_of_a_phone_out_of_androids_own_text() -> None:
    phone = Told()
    phone.text = "__next__".join(
        [(GOLDEN / "battery.txt").read_text(), (GOLDEN / "thermalservice.txt").read_text(), "1803000\n2850000\n"]
    )
    assert read_state(phone) == {
        "battery_level": "64",
        "plugged": "usb",
        "battery_temperature": "31.7",
        "thermal_status": "2",
        "cpu_khz": "1803000,2850000",
    }
