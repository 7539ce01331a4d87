"""Labels of several input sizes compared at one: mIoU at any of them is then of the same scenes and the same pixels."""

from collections.abc import Iterable
from dataclasses import replace

import msgspec
import numpy as np
from PIL import Image

from device_profiler.files import sha256_bytes
from pipeline.data.folder import resize_image
from pipeline.data.loading import COMPOSED
from pipeline.data.source import Bytes, DataSource, Size, Split
from pipeline.pixel_size import width_x_height


def common_size(sizes: Iterable[Size]) -> Size:
    """The smallest (height, width) that no size exceeds: labels of a larger map are never thrown away."""
    heights, widths = zip(*sizes, strict=True)
    return max(heights), max(widths)


def compared_at(source: DataSource, finest: DataSource) -> DataSource:
    """`source` with the masks of search, certify and test as in `finest`, the same data at the size to compare at.

    Composed data are drawn anew for every size: their images are those of `finest` too, made smaller. The train split
    stays, for a network is trained on what its own size shows.
    """
    if finest.size == source.size:
        return source

    def compared(own: Split, fine: Split) -> Split:
        images = _smaller(fine.images, source.size) if source.spec in COMPOSED else own.images
        return replace(own, images=images, masks=fine.masks)

    return replace(
        source,
        search=compared(source.search, finest.search),
        certify=compared(source.certify, finest.certify),
        test=compared(source.test, finest.test),
        rule=f"{source.rule}; labels of search, certify and test compared at {width_x_height(finest.size)}",
        fingerprint=sha256_bytes(msgspec.json.encode(("compared at", source.fingerprint, finest.fingerprint))),
    )


def _smaller(images: Bytes, size: Size) -> Bytes:
    smaller = [resize_image(Image.fromarray(np.asarray(image)), size) for image in images]
    return np.stack(smaller) if smaller else np.empty((0, *size, 3), np.uint8)
