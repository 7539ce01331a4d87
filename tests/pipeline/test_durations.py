"""Quantities as a user types them."""

import pytest

from device_profiler.errors import InputError
from pipeline.durations import format_duration, parse_cost, parse_duration, parse_fraction, parse_points, parse_span


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [("30ms", 3e7), ("1.5 s", 1.5e9), ("250us", 2.5e5), ("250µs", 2.5e5), ("7ns", 7.0), (".5ms", 5e5), ("1e3us", 1e6)],
)
def test_durations(text: str, nanoseconds: float) -> None:
    assert parse_duration(text) == nanoseconds


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("30", "has no unit"),
        ("0", "more than 0"),
        ("0ms", "more than 0"),
        ("-3ms", "more than 0"),
        ("3min", "is no duration"),
        ("fast", "is not a number"),
        ("", "is not a number"),
        ("1e999s", "more than 0"),
    ],
)
def test_bad_durations(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_duration(text)


def test_points_fractions_and_costs() -> None:
    assert parse_points("1pp") == 0.01
    assert parse_points("0.5 pp") == 0.005
    assert parse_fraction("0.60") == 0.6
    assert parse_cost("3.2e9") == 3.2e9
    for parse, text in ((parse_points, "1"), (parse_points, "-1pp"), (parse_fraction, "60"), (parse_cost, "0")):
        with pytest.raises(InputError):
            parse(text)


@pytest.mark.parametrize(
    ("nanoseconds", "text"), [(3.05e7, "30.5 ms"), (0.5, "0.5 ns"), (0.0, "0 ns"), (2e9, "2 s"), (1234.0, "1.234 us")]
)
def test_format(nanoseconds: float, text: str) -> None:
    assert format_duration(nanoseconds) == text


def test_spans() -> None:
    assert [parse_span(text) for text in ("20min", "90s", "1.5min", "1 s")] == [1200, 90, 90, 1]


@pytest.mark.parametrize("text", ["20", "20ms", "0s", "-1min", "0.5s", "1h", "1e999s"])
def test_bad_spans(text: str) -> None:
    with pytest.raises(InputError, match="no span of whole seconds: write it as 90s or 20min"):
        parse_span(text)
