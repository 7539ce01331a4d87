"""Camera frames for images of the network's size: checks of a deployment that takes frames have no others."""

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from mobile_export.frame_input import TriangleFilter
from mobile_export.frame_size import Size, whole_multiples

CORRECTIONS = 8
"""Each enlarges what the frame so far misses of the image. Without any, frames would be blurred twice."""

Bytes = NDArray[np.uint8]


@torch.inference_mode()
def frame_of(image: Bytes, frame: Size) -> Bytes:
    """A frame uint8 [FH, FW, 3] for an image uint8 [H, W, 3]: enlarged so that shrinking it gives the image back.

    Nearly: no frame shrinks to a white pixel right beside a black one. Bicubic enlargement, corrected CORRECTIONS times
    by what is missing (iterative back-projection, Irani and Peleg 1991).

    Raises:
        InputError: the frame's sides are no whole multiples of the image's.
    """
    shrink, wanted = _filter(image.shape[:2], frame), _planes(image)
    found = torch.zeros(1, 3, *frame)
    for _ in range(1 + CORRECTIONS):
        missing = functional.interpolate(wanted - shrink.exact(found), frame, mode="bicubic", align_corners=False)
        found = (found + missing).clamp(0, 255)
    return _bytes(found.round())


@torch.inference_mode()
def shrunk(frame: Bytes, size: Size) -> Bytes:
    """What the network is handed of a frame uint8 [FH, FW, 3]: uint8 [H, W, 3], as the graph computes it.

    Raises:
        InputError: the frame's sides are no whole multiples of `size`.
    """
    return _bytes(_filter(size, frame.shape[:2])(_planes(frame)))


@cache
def _filter(size: Size, frame: Size) -> TriangleFilter:
    return TriangleFilter(size, whole_multiples(frame, size))


def _planes(image: Bytes) -> Tensor:
    return torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None]


def _bytes(planes: Tensor) -> Bytes:
    return np.ascontiguousarray(planes[0].permute(1, 2, 0).numpy().astype(np.uint8))
