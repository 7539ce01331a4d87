"""The golden model: a small network of known work, run first and last in every block to tell whether the phone drifted.

`mobile_export.golden` makes the files.
"""

from importlib import resources
from pathlib import Path

from device_profiler.targets import Runtime

GOLDEN_ENTRY = "golden"
_FILES: dict[Runtime, str] = {"executorch": "golden.pte", "litert": "golden.tflite"}


def golden_file(runtime: Runtime) -> Path:
    """The golden model of `runtime`, whose one entry point is GOLDEN_ENTRY."""
    return Path(str(resources.files("device_profiler.golden").joinpath(_FILES[runtime])))
