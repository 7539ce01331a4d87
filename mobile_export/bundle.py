"""The folder that an app takes: whole or absent, every byte of it under a hash."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
from PIL import Image

from device_profiler.errors import InputError, VerificationError
from device_profiler.files import sha256_bytes, sha256_path
from device_profiler.workload import Array
from mobile_export.manifest import Manifest, decode_manifest, encode_manifest

MANIFEST = "manifest.json"
LABELS = "labels.txt"
SAMPLE = "sample.png"
EXPECTED = "expected.png"
SUMS = "SHA256SUMS"


@dataclass(frozen=True)
class Bundle:
    """A verified bundle on disk."""

    folder: Path
    manifest: Manifest

    @property
    def artifact_path(self) -> Path:
        """The exported file."""
        return self.folder / self.manifest.artifact.path

    def sample_image(self) -> npt.NDArray[np.uint8]:
        """The sample image, uint8 [H, W, 3] RGB, at the network's size."""
        return np.asarray(Image.open(self.folder / SAMPLE).convert("RGB"))

    def expected_labels(self) -> npt.NDArray[np.uint8]:
        """The label map that the deployment gives for the sample image, uint8 [H, W]."""
        return np.asarray(Image.open(self.folder / EXPECTED))


def write_bundle(
    folder: Path,
    manifest: Manifest,
    artifact_file: Path,
    sample_image: npt.NDArray[np.uint8],
    expected_labels: Array,
) -> Bundle:
    """Assemble a bundle beside `folder` and give it that name when it is whole; an older bundle there is replaced.

    `sample_image`: uint8 [H, W, 3] RGB; `expected_labels`: [H, W] or [1, H, W], the deployment's own output for it.
    `manifest.files` and the artifact's relative path are filled in here.

    Raises:
        VerificationError: `artifact_file` is not the file that the manifest describes.
    """
    if sha256_path(artifact_file) != manifest.artifact.sha256:
        raise VerificationError(f"{artifact_file.name} is not the file that the manifest describes: export it again")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as name:
        whole = Path(name) / "bundle"
        whole.mkdir()
        model = f"model{artifact_file.suffix}"
        shutil.copyfile(artifact_file, whole / model)
        (whole / LABELS).write_text("".join(f"{entry.name}\n" for entry in manifest.classes))
        Image.fromarray(np.ascontiguousarray(sample_image)).save(whole / SAMPLE)
        mask_image(expected_labels, manifest).save(whole / EXPECTED)
        complete = msgspec.structs.replace(
            manifest,
            artifact=msgspec.structs.replace(manifest.artifact, path=model),
            files={file.name: sha256_path(file) for file in sorted(whole.iterdir())},
        )
        content = encode_manifest(complete)
        (whole / MANIFEST).write_bytes(content)
        sums = {**complete.files, MANIFEST: sha256_bytes(content)}
        (whole / SUMS).write_text("".join(f"{digest}  {file}\n" for file, digest in sorted(sums.items())))
        _take_name(whole, folder, Path(name) / "replaced")
    return Bundle(folder, complete)


def _take_name(whole: Path, folder: Path, replaced: Path) -> None:
    if folder.exists():
        folder.rename(replaced)
    try:
        whole.rename(folder)
    except OSError:
        if replaced.exists():
            replaced.rename(folder)
        raise


def read_bundle(folder: Path) -> Bundle:
    """The bundle in `folder`, every file held against its hash.

    Raises:
        InputError: no bundle there, or one of a newer schema.
        VerificationError: a file is missing or differs from when the bundle was written.
    """
    if not (folder / MANIFEST).is_file():
        raise InputError(f"no bundle in {folder}: {MANIFEST} is missing; give the folder that `deploy` wrote")
    content = (folder / MANIFEST).read_bytes()
    recorded = _recorded(folder)
    if recorded.get(MANIFEST) != sha256_bytes(content):
        raise VerificationError(_changed(folder, MANIFEST))
    manifest = decode_manifest(content, str(folder / MANIFEST))
    for name, digest in manifest.files.items():
        file = folder / name
        if Path(name).name != name or not file.is_file():
            raise VerificationError(f"bundle {folder}: {name} is missing; deploy again")
        if sha256_path(file) != digest or recorded.get(name) != digest:
            raise VerificationError(_changed(folder, name))
    if manifest.files.get(manifest.artifact.path) != manifest.artifact.sha256:
        raise VerificationError(_changed(folder, manifest.artifact.path))
    return Bundle(folder, manifest)


def _recorded(folder: Path) -> dict[str, str]:
    """File name to hash, from SHA256SUMS (the format of `sha256sum -c`)."""
    file = folder / SUMS
    if not file.is_file():
        raise VerificationError(f"bundle {folder}: {SUMS} is missing; deploy again")
    pairs = (line.split("  ", 1) for line in file.read_text(errors="replace").splitlines())
    return {pair[1]: pair[0] for pair in pairs if len(pair) == 2}


def _changed(folder: Path, name: str) -> str:
    return f"bundle {folder}: {name} was changed since it was written (its SHA-256 differs); deploy again"


def mask_image(labels: Array, manifest: Manifest) -> Image.Image:
    """A label map [H, W] or [1, H, W] as a palette image: pixels are class indices, the palette has the colours."""
    image = Image.fromarray(labels.reshape(labels.shape[-2:]).astype(np.uint8))
    image.putpalette([value for entry in manifest.classes for value in entry.color])
    return image
