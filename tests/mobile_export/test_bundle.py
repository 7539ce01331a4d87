"""A bundle is whole or absent, and no byte of it changes unnoticed."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import jsonschema
import msgspec
import pytest

from device_profiler.errors import InputError, VerificationError
from device_profiler.files import sha256_bytes
from mobile_export import bundle as bundling
from mobile_export.artifact import Artifact
from mobile_export.bundle import Bundle, read_bundle, write_bundle
from mobile_export.glue import glue_files
from mobile_export.manifest import Manifest, decode_manifest, schema_text
from mobile_export.self_check import Sample

DOCS = Path(__file__).parents[2] / "docs"


def test_what_is_written_is_read(bundle: Bundle, manifest: Manifest) -> None:
    found = read_bundle(bundle.folder)

    assert found.manifest == bundle.manifest
    assert msgspec.structs.replace(found.manifest, files={}, self_check=None, artifact=manifest.artifact) == manifest
    assert sorted(file.name for file in bundle.folder.iterdir()) == [
        "SHA256SUMS", "expected.png", "glue", "labels.txt", "manifest.json", "manifest.schema.json", "model.tflite",
        "sample.png", "self_check",
    ]
    in_glue = {file.relative_to(bundle.folder / "glue").as_posix() for file in (bundle.folder / "glue").rglob("*.*")}
    assert in_glue == set(glue_files("litert"))
    assert {"python/cascade.py", "cpp/cascade.cpp", "cpp/litert_model.cpp"} <= in_glue
    assert (bundle.folder / "labels.txt").read_text().splitlines()[1] == "class 1"
    assert found.sample_image().shape == (64, 64, 3)
    assert found.expected_labels().max() < 5
    assert found.manifest.plan.thresholds == (0.1,)


def test_a_copy_elsewhere_is_as_good(bundle: Bundle, tmp_path: Path) -> None:
    copy = tmp_path / "app" / "assets"
    shutil.copytree(bundle.folder, copy)
    shutil.rmtree(bundle.folder)
    assert read_bundle(copy).artifact_path.is_file()


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum here")
def test_the_sums_are_in_sha256sums_format(bundle: Bundle) -> None:
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=bundle.folder, check=True)


@pytest.mark.parametrize(
    "name",
    ["model.tflite", "manifest.json", "labels.txt", "sample.png", "expected.png", "self_check/exit_1.pgm",
     "glue/python/cascade.py"],
)
def test_one_changed_byte_is_noticed(bundle: Bundle, name: str) -> None:
    file = bundle.folder / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(VerificationError, match=f"{name} was changed"):
        read_bundle(bundle.folder)


@pytest.mark.parametrize("name", ["model.tflite", "labels.txt", "sample.png", "self_check/exit_0.pgm", "SHA256SUMS"])
def test_a_missing_file_is_named(bundle: Bundle, name: str) -> None:
    (bundle.folder / name).unlink()
    with pytest.raises(VerificationError, match=f"{name} is missing"):
        read_bundle(bundle.folder)


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no bundle in .*manifest\.json is missing"):
        read_bundle(tmp_path)


def rewrite_manifest(bundle: Bundle, change: Callable[[dict[str, object]], None]) -> None:
    """Change manifest.json as another version of the project would have written it: its sum fits."""
    path, sums = bundle.folder / "manifest.json", bundle.folder / "SHA256SUMS"
    content = json.loads(path.read_text())
    change(content)
    old = sha256_bytes(path.read_bytes())
    path.write_text(json.dumps(content))
    sums.write_text(sums.read_text().replace(old, sha256_bytes(path.read_bytes())))


def test_a_manifest_of_schema_1_is_read() -> None:
    content = (Path(__file__).parents[1] / "golden" / "manifest_schema_1.json").read_bytes()
    old = decode_manifest(content, "manifest.json")
    assert (old.schema, old.self_check, old.resolutions) == (1, None, ())
    assert (old.temporal.exit_margin, old.temporal.label_frames) == (0.0, 1)
    assert (old.input.mean, old.input.std) == ((0.0,) * 3, (1.0,) * 3)
    assert old.plan.stages == ("segment",)


def test_a_newer_schema_asks_for_an_update(bundle: Bundle) -> None:
    rewrite_manifest(bundle, lambda content: content.update(schema=99, stages="whatever they will be"))
    with pytest.raises(InputError, match="schema 99, this version reads up to 2: update"):
        read_bundle(bundle.folder)


def test_a_manifest_of_the_wrong_shape_is_named(bundle: Bundle) -> None:
    rewrite_manifest(bundle, lambda content: content.update(stages="none"))
    with pytest.raises(InputError, match=r"no manifest of a deployment: .*stages"):
        read_bundle(bundle.folder)


def test_files_outside_the_folder_are_not_followed(bundle: Bundle) -> None:
    rewrite_manifest(bundle, lambda content: content.update(files={"../secret": "0"}))
    with pytest.raises(VerificationError):
        read_bundle(bundle.folder)


def test_another_file_than_described_is_refused(manifest: Manifest, sample: Sample, tmp_path: Path) -> None:
    other = tmp_path / "other.tflite"
    other.write_bytes(b"other")
    with pytest.raises(VerificationError, match="not the file that the manifest describes"):
        write_bundle(tmp_path / "deployment", manifest, other, sample)
    assert not (tmp_path / "deployment").exists()


def test_a_failure_on_the_way_leaves_nothing(
    manifest: Manifest, artifact: Artifact, sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Manifest) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundling, "encode_manifest", full)
    with pytest.raises(OSError, match="No space left"):
        write_bundle(tmp_path / "deployment", manifest, Path(artifact.path), sample)
    assert list(tmp_path.iterdir()) == []


def test_writing_again_replaces_the_whole(
    bundle: Bundle, manifest: Manifest, artifact: Artifact, sample: Sample
) -> None:
    (bundle.folder / "left over").write_text("from an older version")
    changed = msgspec.structs.replace(manifest, warnings=("measured on an emulated phone",))

    write_bundle(bundle.folder, changed, Path(artifact.path), sample)

    assert read_bundle(bundle.folder).manifest.warnings == ("measured on an emulated phone",)
    assert not (bundle.folder / "left over").exists()
    assert [path.name for path in bundle.folder.parent.iterdir()] == ["deployment"]


def test_the_schema_in_docs_is_the_manifests() -> None:
    kept = json.loads((DOCS / "manifest.schema.json").read_text())
    assert without_descriptions(kept) == without_descriptions(json.loads(schema_text())), (
        "write it again: python -m mobile_export.manifest > docs/manifest.schema.json"
    )


def without_descriptions(schema: object) -> object:
    """Descriptions are docstrings: a reworded one is no other schema."""
    if isinstance(schema, dict):
        return {key: without_descriptions(value) for key, value in schema.items() if key != "description"}
    return [without_descriptions(value) for value in schema] if isinstance(schema, list) else schema


def test_a_written_manifest_fits_the_schema(bundle: Bundle) -> None:
    schema = json.loads((DOCS / "manifest.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads((bundle.folder / "manifest.json").read_text()), schema)
    assert json.loads((bundle.folder / "manifest.schema.json").read_text()) == json.loads(schema_text())
