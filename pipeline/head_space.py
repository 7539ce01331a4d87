"""The space of segmentation heads, declared as data: no torch here, so that argument parsers may ask."""

import fnmatch
import re
from collections.abc import Mapping, Sequence

import msgspec

from device_profiler.errors import InputError

ORIGINAL = "original"
"""Name of the head that a converted segmentation network came with; it is no value of the space."""

REDUCTIONS = (1, 2, 4, 8)
EXTRA_BLOCKS = (0, 1, 2, 3)
PAPER_KINDS = ("fcn", "deeplab")
MOBILE_KINDS = ("lraspp", "dsaspp")
KINDS = (*PAPER_KINDS, *MOBILE_KINDS)


class HeadArchitecture(msgspec.Struct, frozen=True):
    """One value of the head space (MESS, arXiv 2106.03527): `kind`, with its channels divided by `reduction`.

    `blocks` residual blocks of the backbone's kind stand in front; with `rapid`, their dilation doubles from block to
    block (2, 4, 8). FCN and DeepLab heads are reduced by a 1x1 convolution in front. LR-ASPP and the
    depthwise-separable ASPP begin with convolutions of their own, so their width is divided (and, in front of blocks,
    the features too).
    """

    kind: str
    reduction: int = 1
    blocks: int = 0
    rapid: bool = False

    @property
    def name(self) -> str:
        """As in files and on the command line: "fcn-r4", with blocks "fcn-r4-b2", rapidly dilated "fcn-r4-b2d"."""
        blocks = f"-b{self.blocks}{'d' if self.rapid else ''}" if self.blocks else ""
        return f"{self.kind}-r{self.reduction}{blocks}"


def _space(kinds: Sequence[str]) -> tuple[HeadArchitecture, ...]:
    """Every distinct combination: rapid dilation has no effect without blocks."""
    return tuple(
        HeadArchitecture(kind, reduction, blocks, rapid)
        for kind in kinds
        for reduction in REDUCTIONS
        for blocks in EXTRA_BLOCKS
        for rapid in ((False, True) if blocks else (False,))
    )


HEAD_SETS: Mapping[str, tuple[HeadArchitecture, ...]] = {
    "paper": _space(PAPER_KINDS),
    "mobile": _space(MOBILE_KINDS),
    "all": _space(KINDS),
}

_SYNTAX = (
    "a head is <kind>-r<reduction>[-b<blocks>[d]], such as fcn-r4 or lraspp-r2-b1d, with a kind of: "
    f"{', '.join(KINDS)}; sets of heads are {', '.join(HEAD_SETS)}"
)


def select_heads(patterns: Sequence[str]) -> tuple[str, ...]:
    """Names of the heads that any of `patterns` means, in the order of the patterns, each once.

    A pattern is a set (`paper`: 56 heads, `mobile`, `all`), a head's name, or a wildcard over the space (`fcn-r*`,
    `lraspp-r[12]`).

    Raises:
        InputError: a pattern that means no head.
    """
    found: dict[str, None] = {}
    for pattern in patterns:
        if pattern in HEAD_SETS:
            meant = [head.name for head in HEAD_SETS[pattern]]
        elif any(sign in pattern for sign in "*?["):
            meant = fnmatch.filter([head.name for head in HEAD_SETS["all"]], pattern)
        else:
            meant = [parse_head(pattern).name]
        if not meant:
            raise InputError(f"no head is called {pattern!r}; {_SYNTAX}")
        found |= dict.fromkeys(meant)
    if not found:
        raise InputError(f"no head is asked for; {_SYNTAX}")
    return tuple(found)


def parse_head(name: str) -> HeadArchitecture:
    """The architecture called `name`, for example "lraspp-r2".

    Raises:
        InputError: unknown kind, or no reduction of at least 1.
    """
    match = re.fullmatch(r"(\w+)-r([1-9]\d*)(?:-b([1-9]\d*)(d?))?", name)
    if match is None or match[1] not in KINDS:
        raise InputError(f"unknown head {name!r}; {_SYNTAX}")
    return HeadArchitecture(match[1], int(match[2]), int(match[3] or 0), match[4] == "d")
