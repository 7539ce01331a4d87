"""What a runner gives back: its JSON lines and outputs file (described in source/results.h) as typed results."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from device_profiler.errors import DeviceError
from device_profiler.workload import Array

_Line = TypeVar("_Line", bound=msgspec.Struct)


@dataclass(frozen=True)
class Affine:
    """Affine quantisation of an output: real = scale * (stored - zero_point)."""

    scale: float
    zero_point: int


@dataclass(frozen=True)
class CallResult:
    """One call: its outputs as stored, with their quantisation (None where real-valued), and its times.

    `samples_ns`: every timed run; `load_ns`: model and entry made ready; `first_ns`: the first run of all.
    `peak_rss_kb`: the process's memory peak (under emulation that of the emulator's process, larger than the phone's).
    """

    entry: str
    outputs: tuple[Array, ...]
    quantization: tuple[Affine | None, ...]
    samples_ns: tuple[int, ...]
    load_ns: int
    first_ns: int
    peak_rss_kb: int


@dataclass(frozen=True)
class CascadeResult:
    """One image through a cascade: index of the exit taken, confidences of the exits reached but the last (float32),
    labels uint8 [1, H, W], and the times of the whole path; see CallResult."""

    exit: int
    confidences: tuple[float, ...]
    labels: npt.NDArray[np.uint8]
    samples_ns: tuple[int, ...]
    load_ns: int
    first_ns: int
    peak_rss_kb: int


class Visit(msgspec.Struct, frozen=True):
    """One visit of a schedule. `start_ns`: by the phone's monotonic clock; `settled`: whether the warm-up did."""

    start_ns: int
    warmup_ns: tuple[int, ...]
    settled: bool
    samples_ns: tuple[int, ...]


class Window(msgspec.Struct, frozen=True):
    """One window of a sustained run: its runs' times, and when it began after the run's start."""

    start_ns: int
    samples_ns: tuple[int, ...]


class EntryEvents(msgspec.Struct, frozen=True):
    """What one run of an entry came to: graphs that a delegate took, and the runtime's own kernels with their number.

    `kernels`: by ExecuTorch's names, such as "argmax.out" and "_to_dim_order_copy.out".
    """

    entry: str
    delegate_calls: int
    kernels: dict[str, int]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kernels as exports name operators: without overload and leading underscore."""
        return tuple(sorted({name.partition(".")[0].removeprefix("_") for name in self.kernels}))


class _Stored(msgspec.Struct, frozen=True):
    offset: int
    dtype: str
    shape: tuple[int, ...]
    scale: float | None = None
    zero_point: int | None = None

    @property
    def quantization(self) -> Affine | None:
        return None if self.scale is None or self.zero_point is None else Affine(self.scale, self.zero_point)

    def read(self, content: memoryview) -> Array:
        dtype = np.dtype(self.dtype)
        count = int(np.prod(self.shape, dtype=np.int64))
        if self.offset + count * dtype.itemsize > len(content):
            raise DeviceError("the outputs that came back from the phone are cut short; run it again")
        return np.frombuffer(content, dtype, count, self.offset).reshape(self.shape).copy()


class _Timed(msgspec.Struct, frozen=True):
    samples_ns: tuple[int, ...]
    load_ns: int
    first_ns: int
    peak_rss_kb: int


class _CallLine(_Timed, frozen=True, kw_only=True):
    entry: str
    outputs: tuple[_Stored, ...]


class _ImageLine(_Timed, frozen=True, kw_only=True):
    exit: int
    confidences: tuple[float, ...]
    labels: _Stored


class _EndLine(msgspec.Struct, frozen=True):
    error: str | None = None
    done: bool = False


def error_of(lines: Sequence[str]) -> str | None:
    """The text of the error line, if the runner wrote one."""
    return next((end.error for end in map(_end_line, lines) if end.error is not None), None)


def is_done(lines: Sequence[str]) -> bool:
    """Whether the runner's last line says that the job ran to its end."""
    return bool(lines) and _end_line(lines[-1]).done


def call_results(lines: Sequence[str], outputs: Path) -> list[CallResult]:
    """Results of a job of calls, in order; `lines` without the last one that says done."""
    content = memoryview(outputs.read_bytes())
    records = [_decode(line, _CallLine) for line in lines]
    return [
        CallResult(
            record.entry,
            tuple(tensor.read(content) for tensor in record.outputs),
            tuple(tensor.quantization for tensor in record.outputs),
            record.samples_ns,
            record.load_ns,
            record.first_ns,
            record.peak_rss_kb,
        )
        for record in records
    ]


def cascade_results(lines: Sequence[str], outputs: Path) -> list[CascadeResult]:
    """Results of a cascade, an image each, in order."""
    content = memoryview(outputs.read_bytes())
    records = [_decode(line, _ImageLine) for line in lines]
    return [
        CascadeResult(
            record.exit,
            tuple(float(np.float32(value)) for value in record.confidences),
            record.labels.read(content).astype(np.uint8, copy=False),
            record.samples_ns,
            record.load_ns,
            record.first_ns,
            record.peak_rss_kb,
        )
        for record in records
    ]


def visits(lines: Sequence[str]) -> tuple[Visit, ...]:
    """The visits of a schedule, in order."""
    return tuple(_decode(line, Visit) for line in lines)


def entry_events(lines: Sequence[str]) -> tuple[EntryEvents, ...]:
    """The watched entries, in order."""
    return tuple(_decode(line, EntryEvents) for line in lines)


def windows(lines: Sequence[str]) -> tuple[Window, ...]:
    """The windows of a sustained run, in order."""
    return tuple(_decode(line, Window) for line in lines)


def _end_line(line: str) -> _EndLine:
    return _decode(line, _EndLine)


def _decode(line: str, kind: type[_Line]) -> _Line:
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.DecodeError as error:
        raise DeviceError(f"the phone's runner wrote a line that can't be read ({error}): {line[:120]!r}") from error
