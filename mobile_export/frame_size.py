"""Which camera frames a network can take whole. Light: read by argument checks."""

from device_profiler.errors import InputError

Size = tuple[int, int]
"""Height and width in pixels."""


def whole_multiples(frame: Size, size: Size) -> tuple[int, int]:
    """How many times as high and as wide as the network's `size` a frame is.

    Raises:
        InputError: a side is no whole multiple, or the frame is of the network's own size.
    """
    down, across = frame[0] // size[0], frame[1] // size[1]
    if frame == (down * size[0], across * size[1]) and down * across > 1:
        return down, across
    times = max(2, round(max(frame[0] / size[0], frame[1] / size[1])))
    fitting = " or ".join(f"{n * size[1]}x{n * size[0]}" for n in (times, times + 1))
    raise InputError(
        f"--frame {frame[1]}x{frame[0]} can't be resized to the network's {size[1]}x{size[0]} inside the graph: each "
        f"side must be a whole multiple, as in {fitting}; leave --frame out for others: the reference code resizes"
    )
