"""Example images: small encodings for report.json, and the tiles of the gallery made from them."""

import base64
import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from pipeline.run_report.palette import IGNORED, Rgb

Labels = npt.NDArray[np.uint8]
Photo = npt.NDArray[np.uint8]

_WRONG: Rgb = (213, 94, 0)
_UNLABELLED: Rgb = (16, 16, 16)
_CONFIDENCE_STOPS: tuple[Rgb, ...] = ((0, 34, 78), (124, 123, 120), (254, 232, 56))
"""Ends and middle of cividis (Nuñez, Anderton and Renslow 2018)."""
CONFIDENCE_LEVELS = 32
_NUMBER_GRID = 64
_SMALLEST_NUMBERED = 0.012
"""Share of the image below which a class carries no number: it would hide the class."""


def encode_photo(image: npt.NDArray[np.uint8], quality: int = 82) -> bytes:
    """JPEG of an RGB image, uint8 [H, W, 3]."""
    buffer = io.BytesIO()
    Image.fromarray(image, "RGB").save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


def encode_labels(labels: npt.NDArray[np.integer]) -> bytes:
    """PNG of a label map, integers [H, W] in 0..254 with 255 for pixels without a label."""
    buffer = io.BytesIO()
    Image.fromarray(labels.astype(np.uint8), "L").save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def decode_labels(content: bytes) -> Labels:
    """The label map uint8 [H, W] of `encode_labels`."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("L"))


def encode_confidence(probability: npt.NDArray[np.floating]) -> bytes:
    """PNG of a confidence map: probabilities [h, w] in 0..1, in 256 steps."""
    buffer = io.BytesIO()
    Image.fromarray(np.rint(255 * probability.clip(0, 1)).astype(np.uint8), "L").save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def data_uri(content: bytes, kind: str) -> str:
    """A picture's bytes as a data URI; `kind` is "jpeg" or "png"."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def mask_uri(labels: Labels, colours: tuple[Rgb, ...]) -> str:
    """A label map in class colours; pixels without a label are near black."""
    table = np.full((256, 3), _UNLABELLED, np.uint8)
    table[: len(colours)] = colours
    image = Image.fromarray(labels, "P")
    image.putpalette(table.tobytes())
    return _png_uri(image)


def errors_uri(truth: Labels, mask: Labels) -> str:
    """Wrong pixels in solid orange, all others transparent: to lie over the photo. None without a label is wrong."""
    wrong = (truth != mask) & (truth != IGNORED)
    image = Image.fromarray(wrong.astype(np.uint8), "P")
    image.putpalette([0, 0, 0, *_WRONG])
    return _png_uri(image, transparency=0)


def confidence_uri(content: bytes) -> str:
    """A confidence map (`encode_confidence`) from dark blue (0) to yellow (1)."""
    levels = np.asarray(Image.open(io.BytesIO(content)).convert("L")) // (256 // CONFIDENCE_LEVELS)
    image = Image.fromarray(levels.astype(np.uint8), "P")
    image.putpalette([channel for colour in confidence_colours() for channel in colour])
    return _png_uri(image)


def confidence_colours() -> list[Rgb]:
    """The scale of confidence maps, from 0 to 1: lightness rises evenly, and no red is told from green."""
    ramp = np.linspace(0, 1, CONFIDENCE_LEVELS)
    stops = np.linspace(0, 1, len(_CONFIDENCE_STOPS))
    channels = [np.interp(ramp, stops, [stop[n] for stop in _CONFIDENCE_STOPS]) for n in range(3)]
    return [(round(red), round(green), round(blue)) for red, green, blue in zip(*channels, strict=True)]


def _png_uri(image: Image.Image, transparency: int | None = None) -> str:
    """A picture as a data URI; `transparency`: the palette's index that is seen through."""
    buffer = io.BytesIO()
    extra = {} if transparency is None else {"transparency": transparency}
    image.save(buffer, "PNG", optimize=True, **extra)
    return data_uri(buffer.getvalue(), "png")


@dataclass(frozen=True)
class Region:
    """A class in a mask: its share of the image and, where it is big enough, the place of its number in per cent."""

    label: int
    share: float
    left: float | None = None
    top: float | None = None


def regions(labels: Labels, classes: int) -> list[Region]:
    """The classes in a label map, largest first, each with the spot that lies deepest inside it."""
    small = np.asarray(Image.fromarray(labels).resize((_NUMBER_GRID, _NUMBER_GRID), Image.Resampling.NEAREST))
    counts = np.bincount(labels.ravel(), minlength=256)[:classes]
    shares = counts / labels.size
    order = [int(label) for label in np.argsort(-counts, kind="stable") if counts[label]]
    return [_region(small == label, label, float(shares[label])) for label in order]


def _region(inside: npt.NDArray[np.bool_], label: int, share: float) -> Region:
    if share < _SMALLEST_NUMBERED or not inside.any():
        return Region(label, share)
    row, column = _deepest(inside)
    return Region(label, share, _place(column), _place(row))


def _place(cell: int) -> float:
    """The middle of a cell in per cent, far enough from the edge for a number to fit."""
    return min(94.0, max(6.0, 100 * (cell + 0.5) / _NUMBER_GRID))


def _deepest(inside: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """(row, column) of a pixel that survives the most erosions; the frame counts as outside."""
    image = Image.fromarray(np.pad(inside, 1).astype(np.uint8) * 255)
    last = image
    while image.getbbox() is not None:
        last, image = image, image.filter(ImageFilter.MinFilter(3))
    rows, columns = np.nonzero(np.asarray(last)[1:-1, 1:-1])
    middle = len(rows) // 2
    return int(rows[middle]), int(columns[middle])
