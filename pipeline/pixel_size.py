"""Sizes of images as users type them. Light: read by argument parsers."""

import re

from device_profiler.errors import InputError


def height_and_width(text: str, flag: str, example: str) -> tuple[int, int]:
    """'1280x720' -> (720, 1280), that is (height, width) in pixels.

    Raises:
        InputError: not two numbers; it names `flag` and `example`.
    """
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match:
        raise InputError(f"{flag} {text!r} is no size: write WIDTHxHEIGHT in pixels, as in {example}")
    return int(match[2]), int(match[1])


def width_x_height(size: tuple[int, int]) -> str:
    """(height, width) as users type it: (720, 1280) -> '1280x720'."""
    return f"{size[1]}x{size[0]}"
