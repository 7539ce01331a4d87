"""index.json of a fleet: every bundle by the SoC that it is for, as an app store or an app's start looks it up."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec

from device_profiler.measurement import Provenance
from device_profiler.targets import Precision, Runtime, SocName, Target, Unit, soc_names
from mobile_export.manifest import Accuracy, LatencyFigure, Manifest

SCHEMA = 1
INDEX_NAME = "index.json"
SHIPPED = "shipped file"
"""How a manifest's accuracy of the file itself begins; its `deployment` is the search's own figure."""
Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class IndexedLatency(msgspec.Struct, frozen=True):
    """A latency in ns, and how it came about: only those of one provenance may be ranked."""

    value_ns: float
    provenance: Provenance
    note: str = ""


class IndexedBundle(msgspec.Struct, frozen=True, kw_only=True):
    """One bundle. `bundle`: its folder, relative to the index; `file` in it is the model, `sha256` and size its own.

    `expected`, `worst`: latency over the test images, and of the longest path. `miou`: of the file as shipped, run on
    the `images` of the test split. `checkpoint`: SHA-256 of the weights it was made from. `warnings`: the manifest's.
    """

    target: str
    device: str
    unit: Unit
    runtime: Runtime
    precision: Precision
    bundle: str
    file: str
    sha256: Sha256
    size_bytes: int
    expected: IndexedLatency
    worst: IndexedLatency
    miou: float
    images: int
    checkpoint: Sha256
    warnings: tuple[str, ...] = ()


class SocBundles(msgspec.Struct, frozen=True, kw_only=True):
    """What there is for one system on chip. `names`: every manufacturer and model by which Android's
    Build.SOC_MANUFACTURER and SOC_MODEL tell it, to the letter. `group`: its device group in the AI pack. `default`:
    the target whose bundle its phones get: the first that was named. `bundles` in the order in which they were named.
    """

    soc: str
    names: tuple[SocName, ...]
    group: str
    default: str
    bundles: tuple[IndexedBundle, ...]


class FailedTarget(msgspec.Struct, frozen=True):
    """A target that was asked for and has no bundle here: its one-line error and exit code."""

    target: str
    error: str
    exit_code: int


class BundleIndex(msgspec.Struct, frozen=True, kw_only=True):
    """The content of index.json. `created`: ISO 8601, UTC. `checkpoint`: SHA-256 of the weights that all bundles share.

    `fallback`: the target whose bundle any other arm64 phone gets: the first named that computes on the CPU; null
    where none does.
    """

    schema: int = SCHEMA
    created: str
    checkpoint: Sha256
    socs: tuple[SocBundles, ...]
    fallback: str | None = None
    failed: tuple[FailedTarget, ...] = ()

    def bundle(self, target: str) -> IndexedBundle:
        """The bundle of a target that is in the index."""
        return next(bundle for soc in self.socs for bundle in soc.bundles if bundle.target == target)


@dataclass(frozen=True)
class Finished:
    """A target's bundle: its folder relative to the index, its manifest, the SHA-256 of the weights in it."""

    target: Target
    folder: Path
    manifest: Manifest
    checkpoint: str


def make_index(finished: Sequence[Finished], checkpoint: str, failed: Sequence[FailedTarget] = ()) -> BundleIndex:
    """The index of bundles in the order in which their targets were named."""
    by_soc: dict[str, list[Finished]] = {}
    for one in finished:
        by_soc.setdefault(one.target.soc, []).append(one)
    on_cpu = [one.target.name for one in finished if one.target.unit == "cpu"]
    return BundleIndex(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        checkpoint=checkpoint,
        socs=tuple(_soc(soc, ones) for soc, ones in by_soc.items()),
        fallback=on_cpu[0] if on_cpu else None,
        failed=tuple(failed),
    )


def _soc(soc: str, finished: Sequence[Finished]) -> SocBundles:
    first = finished[0].target
    return SocBundles(
        soc=soc, names=soc_names(first), group=group_name(soc), default=first.name,
        bundles=tuple(map(_bundle, finished)),
    )


def group_name(soc: str) -> str:
    """A SoC as the name of a device group of Google Play: a letter, then letters, digits and underscores."""
    plain = "".join(c if c.isascii() and c.isalnum() else "_" for c in soc)
    return plain if plain[:1].isalpha() else f"soc_{plain}"


def _bundle(one: Finished) -> IndexedBundle:
    target, manifest, artifact = one.target, one.manifest, one.manifest.artifact
    shipped = _shipped(manifest)
    return IndexedBundle(
        target=target.name, device=target.device, unit=target.unit, runtime=target.runtime, precision=target.precision,
        bundle=one.folder.as_posix(), file=artifact.path, sha256=artifact.sha256, size_bytes=artifact.size_bytes,
        expected=_latency(manifest.latency.expected), worst=_latency(manifest.latency.worst),
        miou=shipped.miou, images=shipped.images, checkpoint=one.checkpoint, warnings=manifest.warnings,
    )  # fmt: skip


def _shipped(manifest: Manifest) -> Accuracy:
    tested = [row for row in manifest.accuracy if row.split == "test"]
    return next((row for row in tested if row.what.startswith(SHIPPED)), tested[0])


def _latency(figure: LatencyFigure) -> IndexedLatency:
    return IndexedLatency(figure.value_ns, figure.provenance, figure.note)


def encode_index(index: BundleIndex) -> bytes:
    """Indented JSON; floats round-trip."""
    return msgspec.json.format(msgspec.json.encode(index), indent=2) + b"\n"


def json_schema() -> dict[str, Any]:
    """The JSON Schema of index.json, as kept in docs/index.schema.json."""
    schema = msgspec.json.schema(BundleIndex)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Bundle index of a fleet", **schema}


def schema_text() -> str:
    """The text of docs/index.schema.json; written again by `python -m pipeline.fleet.index > FILE`."""
    return msgspec.json.format(msgspec.json.encode(json_schema()), indent=2).decode() + "\n"


if __name__ == "__main__":
    print(schema_text(), end="")
