"""Arrays as bytes, on their way through a farm."""

import io

import numpy as np

from device_profiler.workload import Array


def pack(array: Array) -> bytes:
    """An array in NumPy's own file format."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def unpack(packed: bytes) -> Array:
    """What `pack` packed."""
    array: Array = np.load(io.BytesIO(packed), allow_pickle=False)
    return array
