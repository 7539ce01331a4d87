"""The reference code that a bundle carries, by runtime: Python, C++ (the runner's own cascade), Kotlin and Swift."""

from pathlib import Path

from device_profiler.runner.build import cascade_sources
from device_profiler.targets import Runtime

_HERE = Path(__file__).parent
_CPP = (
    "CMakeLists.txt", "json.h", "label_filter.h", "pace.h", "camera.h", "camera.cpp", "segmenter.h", "segmenter.cpp",
    "main.cpp",
)
_PYTHON = ("python/cascade.py",)
_KOTLIN = ("kotlin/Bundle.kt", "kotlin/Camera.kt")
_SWIFT = ("swift/Bundle.swift", "swift/Camera.swift")
_ANDROID_EXECUTORCH = (*_KOTLIN, "kotlin/ExecuTorchModel.kt")
_APPLE_EXECUTORCH = (*_SWIFT, "swift/ExecuTorchModel.swift")
_BY_RUNTIME: dict[str, tuple[str, ...]] = {
    "executorch": (*_PYTHON, *_ANDROID_EXECUTORCH, *_APPLE_EXECUTORCH),
    "executorch-coreml": _APPLE_EXECUTORCH,
    "litert": (*_PYTHON, *_KOTLIN, "kotlin/LiteRTModel.kt"),
    "coreml": (*_SWIFT, "swift/CoreMLModel.swift"),
}
"""ExecuTorch's other delegates (Vulkan, QNN) are Android's, and have no runtime in Python."""
README = "README.md"


def glue_files(runtime: Runtime) -> dict[str, Path]:
    """The reference code for artifacts of `runtime`: path under glue/ to the file here."""
    files = {name: _HERE / name for name in (README, *_BY_RUNTIME.get(runtime, _ANDROID_EXECUTORCH))}
    return files | {f"cpp/{file.name}": file for file in cpp_sources(runtime)}


def cpp_sources(runtime: Runtime) -> tuple[Path, ...]:
    """The C++ reference with its headers: what drives the runner's cascade from a bundle, and that cascade."""
    if "coreml" in runtime:
        return ()
    own = cascade_sources("litert" if runtime == "litert" else "executorch")
    return (*[_HERE / "cpp" / name for name in _CPP], *own)
