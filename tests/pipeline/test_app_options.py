"""What the app is told by `deploy`: flags, their ranges, and targets that can't take an input."""

import pytest

from device_profiler.errors import InputError
from device_profiler.targets import find_target
from pipeline.app_options import AppOptions, app_options_from
from pipeline.cli import deploy as verb
from pipeline.cli.parser import parse, verb_parser


def options(*words: str, target: str = "pixel7-cpu") -> AppOptions:
    parsed = parse(verb_parser("deploy", verb), ["--target", target, *words])
    return app_options_from(parsed, find_target(target))


def test_by_default_every_frame_stands_for_itself() -> None:
    assert options() == AppOptions(input=None, exit_margin=0.0, label_frames=1)


def test_flags_become_options() -> None:
    assert options("--input", "uint8", "--exit-margin", "0.02", "--label-frames", "2") == AppOptions("uint8", 0.02, 2)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--exit-margin", "-0.1"), "--exit-margin -0.1 is added to a confidence: between 0 and 1, as in 0.02"),
        (("--exit-margin", "nan"), "--exit-margin nan is added to a confidence"),
        (("--label-frames", "0"), "--label-frames 0 must lie between 1 and 60; 1 is off"),
        (("--label-frames", "two"), "argument --label-frames: invalid int value: 'two'"),
        (("--input", "int4"), r"argument --input: invalid choice: 'int4' \(choose from '?float32'?, '?uint8'?\)"),
    ],
)
def test_values_out_of_range_are_one_line(words: tuple[str, ...], text: str) -> None:
    with pytest.raises(InputError, match=text):
        options(*words)


@pytest.mark.parametrize("form", ["uint8", "float32"])
def test_a_target_that_takes_int8_says_so(form: str) -> None:
    with pytest.raises(InputError, match=rf"pixel7-npu \(litert int8\) takes its image .*, not as --input {form}"):
        options("--input", form, target="pixel7-npu")
