"""What a run keeps: finished stages in the cache by content key, copies in the run folder, and what was reused."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from device_profiler.files import cache_folder, sha256_bytes
from pipeline.progress import Progress


def content_key(*parts: object) -> str:
    """A key that changes when any part does: strings, numbers, msgspec structs, frozen dataclasses."""
    return sha256_bytes(msgspec.json.encode(parts))[:32]


@dataclass(frozen=True)
class Reuse:
    """Something that a stage did not have to do again."""

    stage: str
    what: str


@dataclass(frozen=True)
class Span:
    """Wall time of one stage on the host; `beside` names the stage that ran at the same time."""

    stage: str
    seconds: float
    beside: str = ""


@dataclass
class Workspace:
    """The run folder and the cache behind it; collects what was reused and how long stages took."""

    run: Path
    progress: Progress
    reused: list[Reuse] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def kept(self, stage: str, key: str) -> Path:
        """The cache folder of a stage's result under this key (made if absent, so possibly empty)."""
        return cache_folder(stage, key)

    def note_reuse(self, stage: str, what: str) -> None:
        """Remember, and tell, that a stage's result was there already."""
        self.reused.append(Reuse(stage, what))
        self.progress.note(f"{stage}: reused {what}")

    def warn(self, text: str) -> None:
        """A warning that stays in every output of the run."""
        if text not in self.warnings:
            self.warnings.append(text)
            self.progress.note(f"warning: {text}")

    @contextmanager
    def timed(self, stage: str, beside: str = "") -> Iterator[None]:
        """Note the wall time of the block."""
        begun = time.monotonic()
        yield
        self.spans.append(Span(stage, time.monotonic() - begun, beside))

    def publish(self, source: Path, name: str) -> Path:
        """Copy a finished file or folder into the run folder under `name`, replacing what was there."""
        destination = self.run / name
        self.run.mkdir(parents=True, exist_ok=True)
        temporary = self.run / f".{name}.new"
        _remove(temporary)
        if source.is_dir():
            shutil.copytree(source, temporary)
        else:
            shutil.copy2(source, temporary)
        _remove(destination)
        temporary.replace(destination)
        return destination


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
