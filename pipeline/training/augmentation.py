"""What is changed at random in a training image: torchvision's transforms (v2), with numbers drawn from a seed.

The kernels of `transforms.v2.functional` are called with numbers of our own: its classes draw from torch's one global
stream, which dropout uses at the same time, and then training could not resume exactly.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from pipeline.data.source import Bytes

GREY = 127
BILINEAR = InterpolationMode.BILINEAR
NEAREST = InterpolationMode.NEAREST_EXACT
"""By the pixels' centres, as BILINEAR does it: with NEAREST, torchvision's older one, masks lie half a pixel off."""


@dataclass(frozen=True)
class Augmentation:
    """Random enlargement within `scale`, crop, mirror, and change of brightness, contrast and saturation by up to the
    share `photometric`; grey, in the mask `ignore`, fills what lies outside."""

    scale: tuple[float, float]
    photometric: float
    ignore: int

    def apply(self, rng: np.random.Generator, image: Bytes, mask: Bytes) -> tuple[NDArray[np.float32], Bytes]:
        """An augmented image float32 [H, W, 3] in 0..255 and its mask, of the size that came in."""
        # Copied: torch warns of arrays that can't be written, as memory-mapped ones can't.
        pixels, labels = torch.from_numpy(np.array(image)).permute(2, 0, 1), torch.from_numpy(np.array(mask))[None]
        pixels, labels = self._rescaled(rng, pixels, labels)
        if rng.random() < 0.5:
            pixels, labels = transforms.horizontal_flip(pixels), transforms.horizontal_flip(labels)
        relit = self._relit(rng, pixels).permute(1, 2, 0).contiguous()
        return relit.numpy(), labels[0].numpy()

    def _rescaled(self, rng: np.random.Generator, pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        height, width = labels.shape[1:]
        factor = float(np.exp(rng.uniform(*np.log(self.scale))))
        y, x = rng.random(2)
        if factor >= 1:
            h, w = round(height / factor), round(width / factor)
            box = (int(y * (height - h + 1)), int(x * (width - w + 1)), h, w)
            pixels = transforms.resized_crop(pixels, *box, [height, width], BILINEAR, antialias=True)
            return pixels, transforms.resized_crop(labels, *box, [height, width], NEAREST)
        h, w = max(1, round(height * factor)), max(1, round(width * factor))
        top, left = int(y * (height - h + 1)), int(x * (width - w + 1))
        around = [left, top, width - w - left, height - h - top]
        small = transforms.resize(pixels, [h, w], BILINEAR, antialias=True)
        small_labels = transforms.resize(labels, [h, w], NEAREST)
        return transforms.pad(small, around, fill=[GREY]), transforms.pad(small_labels, around, fill=[self.ignore])

    def _relit(self, rng: np.random.Generator, pixels: Tensor) -> Tensor:
        brightness, contrast, saturation = 1 + self.photometric * rng.uniform(-1, 1, 3)
        relit: Tensor = transforms.to_dtype(pixels, torch.float32, scale=True)
        for change, factor in (
            (transforms.adjust_brightness, brightness),
            (transforms.adjust_contrast, contrast),
            (transforms.adjust_saturation, saturation),
        ):
            relit = change(relit, float(factor))
        return relit * 255
