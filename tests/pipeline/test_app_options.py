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


def test_a_frame_is_of_rgb_bytes() -> None:
    framed = AppOptions("uint8", frame=(480, 640))
    assert options("--frame", "640x480") == options("--frame", "640x480", "--input", "uint8") == framed


@pytest.mark.parametrize(
    ("words", "target", "text"),
    [
        (("--frame", "640"), "pixel7-cpu", "--frame '640' is no size: write WIDTHxHEIGHT in pixels, as in 512x512"),
        (("--frame", "640x480", "--input", "float32"), "pixel7-cpu",
         "--frame 640x480 takes RGB bytes, which --input float32 rules out: leave one of the two out"),
        (("--frame", "640x480"), "pixel7-npu",
         "--frame goes with executorch fp32, pixel7-npu is litert int8: leave --frame out, the reference code resizes"),
        (("--frame", "640x480"), "pixel7-cpu-int8", "--frame goes with executorch fp32, pixel7-cpu-int8 is executorch"),
    ],
)
def test_frames_that_cant_be_taken_are_one_line(words: tuple[str, ...], target: str, text: str) -> None:
    with pytest.raises(InputError, match=text):
        options(*words, target=target)


@pytest.mark.parametrize("form", ["uint8", "float32"])
def test_a_target_that_takes_int8_says_so(form: str) -> None:
    with pytest.raises(InputError, match=rf"pixel7-npu \(litert int8\) takes its image .*, not as --input {form}"):
        options("--input", form, target="pixel7-npu")
