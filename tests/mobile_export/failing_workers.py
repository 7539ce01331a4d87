"""Work that goes wrong in each of the ways that a native runtime does; imported by the worker processes."""

import os
import time
from collections.abc import Callable

from device_profiler.errors import InputError


def open_worker(start: int) -> Callable[[object], object]:
    """Answers numbers by adding `start`, and acts on a few words."""

    def answer(request: object) -> object:
        if request == "crash":
            os.write(2, b"native code speaks its last words\n")
            os.abort()
        if request == "hang":
            time.sleep(60)
        if request == "refuse":
            raise InputError("no such thing; give a number")
        if request == "fail":
            raise RuntimeError("method failed with error 0x10\nand a long explanation")
        if request == "print":
            os.write(1, b"noise on stdout")
            return "printed"
        assert isinstance(request, int)
        return request + start

    return answer
