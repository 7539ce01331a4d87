"""Between torch's view of a tensor (NCHW, real values) and the stored form at an entry point's edge."""

import numpy as np

from device_profiler.workload import Array
from mobile_export.artifact import Port


def to_stored(port: Port, real: Array) -> Array:
    """A real array in torch's layout as the entry stores it: NHWC where the port says so, quantised where it is."""
    moved = np.transpose(real, (0, 2, 3, 1)) if port.layout == "NHWC" else real
    if port.quantization is None:
        return np.ascontiguousarray(moved.astype(port.spec.dtype, copy=False))
    limits = np.iinfo(port.spec.dtype)
    steps = np.rint(moved.astype(np.float32) / np.float32(port.quantization.scale)) + port.quantization.zero_point
    return np.ascontiguousarray(np.clip(steps, limits.min, limits.max).astype(port.spec.dtype))


def to_real(port: Port, stored: Array) -> Array:
    """A stored array as real values in torch's layout; integers without quantisation (labels) stay as they are."""
    moved = np.transpose(stored, (0, 3, 1, 2)) if port.layout == "NHWC" else stored
    if port.quantization is None:
        return np.ascontiguousarray(moved)
    zeroed = moved.astype(np.int32) - port.quantization.zero_point
    return np.ascontiguousarray(np.float32(port.quantization.scale) * zeroed.astype(np.float32))
