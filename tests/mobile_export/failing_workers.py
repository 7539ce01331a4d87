"""Work that goes wrong in each of the ways that a native runtime does; imported by the worker processes."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import torch

from device_profiler.errors import InputError
from mobile_export.session import _Run


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


def open_entries(path: Path, runtime: str, threads: int) -> Callable[[object], object]:
    """A runtime of entries that give their input back; those called crash_... end the process."""

    def answer(request: object) -> object:
        if not isinstance(request, _Run):
            return ("first", "crash_one", "second", "crash_two", "third")
        if request.entry.startswith("crash"):
            os.abort()
        return request.inputs

    return answer


class Aborts(torch.nn.Module):
    """A module that takes its process along when it is traced."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        os.abort()
