"""The hash of this project's own code: what is cached by content must change when the code that made it does."""

from functools import cache
from pathlib import Path

from device_profiler.files import sha256_bytes

ROOT = Path(__file__).parents[1]
GRAPH_CODE = (
    "pipeline/backbones",
    "pipeline/heads.py",
    "pipeline/model.py",
    "pipeline/policy.py",
    "pipeline/partition.py",
    "mobile_export",
)
"""What decides an exported program's graph."""
NOT_GRAPH = (
    "bundle.py", "manifest.py", "self_check.py", "session.py", "glue",
    "coreml_runtime.py", "mil_evaluator.py", "runtimes.py", "sensitivity.py", "worker.py",
)
"""Of mobile_export: what only packs and runs what was exported."""


@cache
def graph_code() -> str:
    """SHA-256 over the sources that decide what is exported."""
    files = [file for place in GRAPH_CODE for file in _python_files(ROOT / place)]
    return sha256_bytes(*[file.read_bytes() for file in files])


def _python_files(place: Path) -> list[Path]:
    if not place.is_dir():
        return [place]
    return sorted(file for file in place.rglob("*.py") if file.relative_to(place).parts[0] not in NOT_GRAPH)
