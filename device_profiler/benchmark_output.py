"""What LiteRT's benchmark_model prints, as typed figures.

Formats after its source: tflite/tools/benchmark/benchmark_model.cc and benchmark_tflite_model.cc (google-ai-edge/LiteRT
7d88950 and 01d971c; formerly tensorflow/lite/tools/benchmark), stats_calculator.h (tensorflow/tensorflow 0adb547,
third_party/xla/xla/tsl/util: percentiles are printed since 2024), tools/logging.h (prefixes "INFO: ", or none before
2022, or logcat's tag). Times are microseconds there, nanoseconds here.
"""

import re
from dataclasses import dataclass

_PREFIX = r"^(?:I\S*tflite\s*(?:\(\s*\d+\))?\s*:\s*|INFO: )?"
_NUMBER = r"-?[\d.]+(?:e[+-]?\d+)?"
_VALUE = rf" [a-z0-9]+=(?:{_NUMBER}|nan)(?:\(all same\))?"
_STATISTICS = re.compile(_PREFIX + rf"count=\d+(?:{_VALUE})+\s*$", re.MULTILINE)
_FIELD = re.compile(rf"(\w+)=({_NUMBER})")
_TIMINGS = re.compile(
    _PREFIX + rf"Inference timings in us: Init: ({_NUMBER}), First inference: ({_NUMBER}), Warmup \(avg\): "
    rf"({_NUMBER}), Inference \(avg\): ({_NUMBER})\s*$", re.MULTILINE)
_DELEGATE = re.compile(r"Explicitly applied (.+?) delegate, and the model graph will be (completely|partially)\s+exec")
_REFUSED = re.compile(r"Though (.+?) delegate is explicitly applied, the model graph will not be\s+executed")
_MEMORY = re.compile(_PREFIX + rf"Memory footprint delta from the start of the tool \(MB\): init=({_NUMBER}) "
                     rf"overall=({_NUMBER})", re.MULTILINE)
FALLBACK = "Disallowed CPU fallback detected."
_US = 1e3
_MB_KB = 1024.0


@dataclass(frozen=True)
class RunStatistics:
    """Timed runs of one launch, in ns. Old tools give no percentiles (None)."""

    count: int
    least: float
    most: float
    mean: float
    p5: float | None
    median: float | None
    p95: float | None

    @property
    def typical(self) -> float:
        """The median, else the mean."""
        return self.mean if self.median is None else self.median


@dataclass(frozen=True)
class BenchmarkOutput:
    """One launch that ended well. `delegate`: who took the graph, or None; `complete`: all of it.

    `inferences`: how often the graph ran altogether, warm-up included.
    `memory_kb`: growth of the footprint, as the tool estimates it; 0 where it does not tell.
    """

    load_ns: int
    first_ns: int
    runs: RunStatistics
    delegate: str | None
    complete: bool
    memory_kb: int
    inferences: int


def parse_output(text: str) -> BenchmarkOutput | None:
    """The figures in `text`, or None where it was cut off before its last ones."""
    text = text.replace("\r\n", "\n")
    timings, statistics = _TIMINGS.search(text), _STATISTICS.findall(text)
    if timings is None or len(statistics) < 2:  # the first are those of the warm-up
        return None
    taken, memory = _DELEGATE.search(text), _MEMORY.search(text)
    return BenchmarkOutput(
        load_ns=round(float(timings[1]) * _US),
        first_ns=round(float(timings[2]) * _US),
        runs=_statistics(statistics[-1]),
        delegate=taken[1] if taken else None,
        complete=bool(taken and taken[2] == "completely" and not _REFUSED.search(text)),
        memory_kb=round(float(memory[2]) * _MB_KB) if memory else 0,
        inferences=sum(_statistics(line).count for line in statistics),
    )


def _statistics(line: str) -> RunStatistics:
    """`count=50 first=. curr=. min=. max=. avg=. std=. [p5=. median=. p95=.]`, or `count=3 curr=7(all same) ...`."""
    found = {name: float(value) for name, value in _FIELD.findall(line)}
    count, only = int(found["count"]), found.get("curr", 0.0)

    def percentile(name: str) -> float | None:
        return found[name] * _US if name in found else None

    return RunStatistics(
        count=count,
        least=found.get("min", only) * _US,
        most=found.get("max", only) * _US,
        mean=found.get("avg", only) * _US,
        p5=percentile("p5"),
        median=percentile("median"),
        p95=percentile("p95"),
    )
