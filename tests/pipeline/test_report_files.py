"""What a report keeps on disk: read strictly, the same page again, contradictions found."""

import json
from pathlib import Path

import msgspec
import pytest
from report_reader import words

from device_profiler.errors import InputError
from device_profiler.measurement import Measurement
from pipeline.run_report import Choice, RunReport, TimingSource, read_report, render, timing_of, write_report
from pipeline.run_report.page import page as html

GOLDEN = Path(__file__).parents[1] / "golden"


def test_report_survives_the_disk(report: RunReport, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_report(report, path)
    assert read_report(path) == report
    assert json.loads(path.read_text())["schema"] == 1


def test_rendering_from_the_disk_gives_the_same_page(report: RunReport, page: str, tmp_path: Path) -> None:
    write_report(report, tmp_path / "report.json")
    render(read_report(tmp_path / "report.json"), tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == page


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no report of a run"),
        (b"{", "no report of a run"),
        (b"\xff\xfe", "no report of a run"),
        (b"[]", "no report of a run"),
        (b"{}", "schema"),
        (b'{"schema": 2}', "has schema 2; this version reads schema 1"),
        (b'{"schema": 1, "run": "x"}', "missing required field"),
    ],
)
def test_bad_report_is_one_clear_line(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as raised:
        read_report(path)
    assert said in str(raised.value)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_missing_report_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no report at .*deploy"):
        read_report(tmp_path / "report.json")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda tree: tree["chosen"]["candidate"]["choice"].update(exits=[3, 1]), "ascending"),
        (lambda tree: tree["chosen"]["candidate"]["choice"].update(thresholds=[]), "takes 1 thresholds; got 0"),
        (lambda tree: tree["chosen"]["candidate"]["search"].update(exit_rates=[1.0]), "one exit rate per exit"),
        (lambda tree: tree["chosen"].update(paths=tree["chosen"]["paths"][:1]), "paths must leave at exits"),
        (lambda tree: tree["exits"].pop(), "out of range for 5 exits"),
        (lambda tree: tree["exit_scores"][0].update(class_iou=[0.5]), "one value per class"),
        (lambda tree: tree.update(surprise=1), "surprise"),
        (lambda tree: tree["table"].update(provenance="guessed"), "guessed"),
    ],
)
def test_contradictions_on_disk_are_found(report: RunReport, spoil, said: str, tmp_path: Path) -> None:
    tree = msgspec.to_builtins(report)
    tree = json.loads(msgspec.json.encode(tree))
    spoil(tree)
    (tmp_path / "report.json").write_text(json.dumps(tree))
    with pytest.raises(InputError, match=said):
        read_report(tmp_path / "report.json")


def test_a_report_of_the_first_days_is_still_read_and_shown() -> None:
    """Written before fronts, certificate, entry points and hashes were on record."""
    old = read_report(GOLDEN / "report_schema_1.json")
    assert (old.fronts, old.certificate, old.entries, old.repeat.hashes) == ((), None, (), {})
    text = words(html(old))
    assert "faster than the full network" in text
    assert "None was asked for" in text


def test_anytime_takes_no_thresholds() -> None:
    assert Choice(setting="anytime", exits=(0, 2), heads=("a", "b")).thresholds == ()
    with pytest.raises(ValueError, match="takes 0 thresholds"):
        Choice(setting="anytime", exits=(0, 2), heads=("a", "b"), thresholds=(0.5,))


def test_timing_of_a_measurement_keeps_what_it_is_worth(report: RunReport) -> None:
    measurement = Measurement(
        key="k", entry="stage_0", target="pixel7-npu", requested_unit="npu", actual_unit="cpu", provenance="emulated",
        samples_ns=(5, 6, 7), median_ns=6.0, low_ns=5.0, high_ns=7.0, load_ns=1, first_ns=9, peak_rss_kb=1,
        identity=report.device, state_before={}, state_after={}, versions={}, note="n",
    )  # fmt: skip
    timing = timing_of(measurement)
    assert (timing.ns, timing.low_ns, timing.high_ns, timing.samples, timing.note) == (6.0, 5.0, 7.0, 3, "n")
    assert timing.source == TimingSource(provenance="emulated", requested_unit="npu", actual_unit="cpu")
    predicted = timing_of(msgspec.structs.replace(measurement, provenance="predicted"))
    assert predicted.source == TimingSource(provenance="predicted", requested_unit="npu", actual_unit="npu")
