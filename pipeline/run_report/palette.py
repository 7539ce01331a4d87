"""Colours and marks. Colour never stands alone: series differ by shape, classes by number, provenance by word and mark.

Series colours are Okabe and Ito's set, classes start with it and go on with Paul Tol's "muted" set: both are made for
readers with any common form of colour blindness.
"""

from dataclasses import dataclass

Rgb = tuple[int, int, int]

IGNORED = 255
"""Class index of pixels without a label in a mask."""

_BACKGROUND: Rgb = (70, 74, 84)
_CLASS_COLOURS = (
    "56B4E9", "E69F00", "009E73", "CC79A7", "F0E442", "0072B2", "D55E00", "CCCCCC",
    "882255", "44AA99", "999933", "332288", "DDCC77", "117733", "AA4499", "88CCEE",
    "661100", "6699CC", "AA4466", "4477AA",
)  # fmt: skip


def _rgb(code: str) -> Rgb:
    return int(code[:2], 16), int(code[2:4], 16), int(code[4:], 16)


def class_colours(classes: tuple[str, ...]) -> tuple[Rgb, ...]:
    """A colour per class; a class called "background" is dark grey. Beyond 20, colours come again, darker."""
    colours: list[Rgb] = []
    for name in classes:
        if name == "background":
            colours.append(_BACKGROUND)
            continue
        number = len(colours) - colours.count(_BACKGROUND)
        lap, index = divmod(number, len(_CLASS_COLOURS))
        red, green, blue = _rgb(_CLASS_COLOURS[index])
        shade = 0.6**lap
        colours.append((round(red * shade), round(green * shade), round(blue * shade)))
    return tuple(colours)


def css(colour: Rgb) -> str:
    """A colour as CSS hex."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def readable_on(colour: Rgb) -> str:
    """Black or white, whichever stands out more on `colour` (relative luminance by WCAG 2)."""
    linear = [(c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4) for c in colour]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000" if luminance > 0.179 else "#fff"


@dataclass(frozen=True)
class Theme:
    """Colours of the page in one colour scheme; names are those of the CSS custom properties."""

    ink: str
    soft: str
    line: str
    paper: str
    card: str
    accent: str
    gold: str
    green: str
    pink: str
    red: str
    grey: str


LIGHT = Theme(
    ink="#16191f", soft="#565d69", line="#d9dde3", paper="#f6f7f9", card="#ffffff",
    accent="#005f9e", gold="#8f5a00", green="#00734f", pink="#a8457f", red="#b34a00", grey="#767d89",
)  # fmt: skip
DARK = Theme(
    ink="#eceef2", soft="#a9b0bc", line="#333a45", paper="#111419", card="#191d24",
    accent="#62b8ee", gold="#f0b33c", green="#3fc79a", pink="#e296c1", red="#f5893f", grey="#8b93a0",
)  # fmt: skip


@dataclass(frozen=True)
class Series:
    """A kind of point in the charts: `colour` names a field of Theme, `path` is an SVG path in -1..1 both ways."""

    name: str
    colour: str
    path: str
    area: int
    """Size in charts, square pixels."""


_STAR = "M0,-1L0.24,-0.32L0.95,-0.31L0.38,0.12L0.59,0.81L0,0.4L-0.59,0.81L-0.38,0.12L-0.95,-0.31L-0.24,-0.32Z"
_CIRCLE = "M-0.6,0A0.6,0.6,0,1,1,0.6,0A0.6,0.6,0,1,1,-0.6,0Z"
_SQUARE = "M-0.55,-0.55L0.55,-0.55L0.55,0.55L-0.55,0.55Z"
_UP = "M0,-0.75L0.7,0.55L-0.7,0.55Z"
_DOWN = "M0,0.75L0.7,-0.55L-0.7,-0.55Z"
_DIAMOND = "M0,-0.9L0.7,0L0,0.9L-0.7,0Z"
_CROSS = "M-0.7,-0.5L-0.5,-0.7L0,-0.2L0.5,-0.7L0.7,-0.5L0.2,0L0.7,0.5L0.5,0.7L0,0.2L-0.5,0.7L-0.7,0.5L-0.2,0Z"

CHOSEN = Series("chosen", "red", _STAR, 320)
STRONGEST = Series("strongest single exit", "pink", _DIAMOND, 170)
REFERENCE = Series("full network", "ink", _DOWN, 170)
SINGLE = Series("other single exits", "grey", _CROSS, 60)
FRONTS = {
    "adaptive": Series("adaptive front", "accent", _CIRCLE, 60),
    "budgeted": Series("budgeted front", "green", _SQUARE, 70),
    "anytime": Series("anytime front, mean over its deadlines", "gold", _UP, 80),
}
PART_COLOURS = {"block": "accent", "head": "gold", "boundary": "pink", "finish": "green"}
