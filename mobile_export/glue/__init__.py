"""The reference code that a bundle carries, by runtime: Python, C++ (the runner's own cascade), Kotlin and Swift."""

from pathlib import Path

from device_profiler.runner.build import cascade_sources
from device_profiler.targets import Runtime

_HERE = Path(__file__).parent
_CPP = (
    "CMakeLists.txt", "json.h", "label_filter.h", "camera.h", "camera.cpp", "segmenter.h", "segmenter.cpp", "main.cpp",
)
_PYTHON = ("python/cascade.py",)
_KOTLIN = ("kotlin/Bundle.kt", "kotlin/Camera.kt")
_SWIFT = ("swift/Bundle.swift", "swift/Camera.swift")
_BY_RUNTIME: dict[Runtime, tuple[str, ...]] = {
    "executorch": (*_PYTHON, *_KOTLIN, "kotlin/ExecuTorchModel.kt", *_SWIFT, "swift/ExecuTorchModel.swift"),
    "executorch-vulkan": (*_KOTLIN, "kotlin/ExecuTorchModel.kt"),
    "executorch-coreml": (*_SWIFT, "swift/ExecuTorchModel.swift"),
    "litert": (*_PYTHON, *_KOTLIN, "kotlin/LiteRTModel.kt"),
    "coreml": (*_SWIFT, "swift/CoreMLModel.swift"),
}
_CPP_RUNTIMES: dict[Runtime, Runtime] = {
    "executorch": "executorch", "executorch-vulkan": "executorch", "litert": "litert",
}
"""Whose C++ reference goes with a runtime: other delegates of ExecuTorch are linked in, the code is the same."""
README = "README.md"


def glue_files(runtime: Runtime) -> dict[str, Path]:
    """The reference code for artifacts of `runtime`: path under glue/ to the file here."""
    files = {name: _HERE / name for name in (README, *_BY_RUNTIME[runtime])}
    return files | {f"cpp/{file.name}": file for file in cpp_sources(runtime)}


def cpp_sources(runtime: Runtime) -> tuple[Path, ...]:
    """The C++ reference with its headers: what drives the runner's cascade from a bundle, and that cascade."""
    if runtime not in _CPP_RUNTIMES:
        return ()
    return (*[_HERE / "cpp" / name for name in _CPP], *cascade_sources(_CPP_RUNTIMES[runtime]))
