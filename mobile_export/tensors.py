"""Names, shapes and types of tensors at an entry point's edge; free of torch, so that bundles are read without it."""

import msgspec


class TensorSpec(msgspec.Struct, frozen=True):
    """Name, shape and dtype ("float32", "int32", ...) of one input or output."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
