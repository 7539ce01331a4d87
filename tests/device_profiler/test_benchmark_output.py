"""What benchmark_model prints, as golden files that cite its source, read as figures."""

from pathlib import Path

import pytest

from device_profiler.benchmark_output import RunStatistics, parse_output

GOLDEN = Path(__file__).parents[1] / "golden" / "benchmark_model"


def golden(name: str) -> str:
    return (GOLDEN / f"{name}.txt").read_text()


@pytest.mark.parametrize("name", ["nnapi", "logcat"])
def test_a_launch_on_an_accelerator(name: str) -> None:
    output = parse_output(golden(name))
    assert output is not None
    assert (output.load_ns, output.first_ns, output.memory_kb) == (93_252_000, 4_021_000, 8704)
    assert (output.delegate, output.complete) == ("NNAPI", True)
    assert output.runs == RunStatistics(447, 2_144_000, 2_698_000, 2_229_610, 2_161_000, 2_225_000, 2_301_000)
    assert output.runs.typical == 2_225_000


def test_a_tool_without_percentiles_has_its_mean() -> None:
    output = parse_output(golden("old"))
    assert output is not None and output.runs.median is None
    assert output.runs.typical == pytest.approx(2.95034e9)
    assert (output.delegate, output.complete, output.memory_kb) == (None, False, 0)


def test_runs_that_all_took_the_same() -> None:
    output = parse_output(golden("all_same"))
    assert output is not None
    assert (output.runs.count, output.runs.least, output.runs.most, output.runs.typical) == (50, *[2.201e6] * 3)


def test_a_part_of_the_graph_is_not_all_of_it() -> None:
    output = parse_output(golden("partial"))
    assert output is not None and (output.delegate, output.complete) == ("NNAPI", False)


@pytest.mark.parametrize("name", ["nnapi_fallback", "nnapi_absent", "signature_unknown"])
def test_a_launch_that_failed_has_no_figures(name: str) -> None:
    assert parse_output(golden(name)) is None


def test_output_that_was_cut_anywhere_gives_no_figure_or_the_whole_one() -> None:
    text = golden("nnapi")
    whole = parse_output(text)
    assert whole is not None
    for end in range(len(text)):
        cut = parse_output(text[:end])
        assert cut is None or (cut.runs, cut.load_ns, cut.first_ns) == (whole.runs, whole.load_ns, whole.first_ns)
