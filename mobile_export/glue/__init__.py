"""The reference code that a bundle carries, by runtime: Python, C++ (the runner's own cascade), Kotlin and Swift."""

from pathlib import Path

from device_profiler.runner.build import cascade_sources
from device_profiler.targets import Runtime

_HERE = Path(__file__).parent
_CPP = (
    "CMakeLists.txt", "json.h", "label_filter.h", "camera.h", "camera.cpp", "segmenter.h", "segmenter.cpp", "main.cpp",
)
_BY_RUNTIME: dict[str, tuple[str, ...]] = {
    "executorch": (
        "python/cascade.py",
        "kotlin/Bundle.kt",
        "kotlin/Camera.kt",
        "kotlin/ExecuTorchModel.kt",
        "swift/Bundle.swift",
        "swift/Camera.swift",
        "swift/ExecuTorchModel.swift",
    ),
    "litert": ("python/cascade.py", "kotlin/Bundle.kt", "kotlin/Camera.kt", "kotlin/LiteRTModel.kt"),
    "coreml": ("swift/Bundle.swift", "swift/Camera.swift", "swift/CoreMLModel.swift"),
}
README = "README.md"


def glue_files(runtime: str) -> dict[str, Path]:
    """The reference code for artifacts of `runtime`: path under glue/ to the file here."""
    files = {name: _HERE / name for name in (README, *_BY_RUNTIME.get(runtime, ()))}
    return files | {f"cpp/{file.name}": file for file in cpp_sources(runtime)}


def cpp_sources(runtime: str) -> tuple[Path, ...]:
    """The C++ reference with its headers: what drives the runner's cascade from a bundle, and that cascade."""
    if runtime not in ("executorch", "litert"):
        return ()
    typed: Runtime = "executorch" if runtime == "executorch" else "litert"
    return (*[_HERE / "cpp" / name for name in _CPP], *cascade_sources(typed))
