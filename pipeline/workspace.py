"""What a run keeps: finished stages in the cache by content key, copies in the run folder, and what was reused."""

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from device_profiler.files import atomic_path, cache_folder, sha256_bytes
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

    def publish_files(self, source: Path, name: str, files: Sequence[str]) -> Path:
        """Copy finished files (or folders, such as a .mlpackage) of a cache folder into the run folder's `name`.

        Files are there whole or not at all; a folder replaces what had its name.
        """
        destination = self.run / name
        for file in files:
            if (source / file).is_dir():
                shutil.rmtree(destination / file, ignore_errors=True)
                shutil.copytree(source / file, destination / file)
                continue
            with atomic_path(destination / file) as temporary:
                shutil.copyfile(source / file, temporary)
        return destination
