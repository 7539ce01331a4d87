"""How an app takes a deployment in: the image's form and steadiness over video. Light: read by argument parsers."""

import argparse
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from device_profiler.errors import InputError
from pipeline.pixel_size import height_and_width

if TYPE_CHECKING:
    from device_profiler.targets import Target

InputForm = Literal["float32", "uint8"]
INPUT_FORMS: tuple[InputForm, ...] = ("float32", "uint8")
MOST_FRAMES = 60


@dataclass(frozen=True)
class AppOptions:
    """`input`: None takes the runtime's own form; the others see `Temporal` of the manifest.

    `frame`: (height, width) of the camera's frame where the graph resizes it; its bytes are RGB, so `input` is uint8.

    Raises InputError where a margin is no share, frames are no count, or a frame is asked for in another form.
    """

    input: InputForm | None = None
    exit_margin: float = 0.0
    label_frames: int = 1
    frame: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.frame and self.input != "uint8":
            raise InputError(
                f"--frame {self.frame[1]}x{self.frame[0]} takes RGB bytes, which --input {self.input} rules out: leave "
                "one of the two out"
            )
        if not (math.isfinite(self.exit_margin) and 0 <= self.exit_margin < 1):
            raise InputError(f"--exit-margin {self.exit_margin} is added to a confidence: between 0 and 1, as in 0.02")
        if not 1 <= self.label_frames <= MOST_FRAMES:
            raise InputError(f"--label-frames {self.label_frames} must lie between 1 and {MOST_FRAMES}; 1 is off")


def add_app_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the app's side; read them with `app_options_from`."""
    group = parser.add_argument_group("app", "what the manifest tells the app to do, and the reference code obeys")
    group.add_argument(
        "--input", choices=INPUT_FORMS,
        help="the first stage takes float32 planes, or RGB bytes as a camera gives them (default: the runtime's own)",
    )
    group.add_argument(
        "--frame", metavar="WIDTHxHEIGHT",
        help="the first stage takes RGB frames of this size, whole multiples of the network's, and resizes them itself",
    )
    group.add_argument(
        "--exit-margin", type=float, default=0.0, metavar="CONFIDENCE",
        help="video: ask so much more of an exit that the frame before went past (default: 0)",
    )
    group.add_argument(
        "--label-frames", type=int, default=1, metavar="N",
        help="video: show a pixel's new label once it was seen in N frames in a row (default: 1, off)",
    )


def app_options_from(arguments: argparse.Namespace, target: "Target") -> AppOptions:
    """The options that the flags state.

    Raises:
        InputError: a value out of range, or an input that the target's runtime does not take.
    """
    frame = None if arguments.frame is None else height_and_width(arguments.frame, "--frame", "512x512")
    form: InputForm | None = "uint8" if frame and not arguments.input else arguments.input
    options = AppOptions(form, arguments.exit_margin, arguments.label_frames, frame)
    if frame and not _takes_bytes(target):
        raise InputError(
            f"--frame goes with executorch fp32, {target.name} is {target.runtime} {target.precision}: leave --frame "
            "out, the reference code resizes"
        )
    check_input(options.input, target)
    return options


def check_input(form: InputForm | None, target: "Target") -> None:
    """Hold the image's form against the target.

    Raises:
        InputError: the target's runtime does not take it.
    """
    planes = target.precision == "fp32" or target.runtime == "executorch"
    taken = {None: True, "float32": planes, "uint8": _takes_bytes(target)}
    if not taken[form]:
        raise InputError(
            f"{target.name} ({target.runtime} {target.precision}) takes its image as the manifest says (litert int8: "
            f"RGB bytes minus 128), not as --input {form}, which goes with executorch fp32: leave --input out"
        )


def _takes_bytes(target: "Target") -> bool:
    return (target.runtime, target.precision) == ("executorch", "fp32")
