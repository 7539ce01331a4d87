"""The folder that an app takes: whole or absent, every byte of it under a hash."""

import io
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import msgspec
import numpy as np
import numpy.typing as npt
from PIL import Image

from device_profiler.errors import InputError, VerificationError
from device_profiler.files import sha256_bytes, sha256_path
from device_profiler.workload import Array
from mobile_export.glue import glue_files
from mobile_export.glue.python import cascade
from mobile_export.manifest import (
    ExpectedAnswer,
    Manifest,
    SelfCheck,
    decode_manifest,
    encode_manifest,
    schema_text,
)
from mobile_export.self_check import LABEL_AGREEMENT, Sample
from mobile_export.session import CascadeResult

MANIFEST = "manifest.json"
SCHEMA_FILE = "manifest.schema.json"
LABELS = "labels.txt"
SAMPLE = "sample.png"
EXPECTED = "expected.png"
SUMS = "SHA256SUMS"
GLUE = "glue"
SELF_CHECK = "self_check"


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
        """The sample image, uint8 [H, W, 3] RGB, of the first stage's size."""
        return _pixels(self.folder / SAMPLE)

    def expected_labels(self) -> npt.NDArray[np.uint8]:
        """The label map that the deployment gives for the sample image, uint8 [H, W]."""
        return np.asarray(Image.open(self.folder / EXPECTED))

    def stored(self, rgb: npt.NDArray[np.uint8]) -> Array:
        """An image uint8 [H, W, 3] RGB of any size as the first stage takes it, by the bundle's reference code.

        Raises:
            BundleError: not such an image.
        """
        wanted = self.manifest.input
        affine = wanted.quantization
        taken = cascade.ImageInput(
            wanted.size, wanted.layout, wanted.dtype, wanted.low, wanted.high, wanted.mean, wanted.std,
            None if affine is None else cascade.Quantization(affine.scale, affine.zero_point),
        )
        return cascade.store_image(rgb, taken)

    def expected_sample(self) -> Sample:
        """The sample with the deployment's answer at every exit.

        Raises:
            InputError: a bundle of schema 1, which has none.
        """
        check = self.manifest.self_check
        if check is None:
            raise InputError(f"bundle {self.folder} is of schema 1 and has no self-check: deploy again")
        answers = tuple(
            CascadeResult(n, answer.confidences, np.asarray(Image.open(self.folder / answer.labels)), 0)
            for n, answer in enumerate(check.answers)
        )
        return Sample(_pixels(self.folder / check.image), check.exit, answers, check.confidence_tolerance)


def _pixels(file: Path) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.open(file).convert("RGB"))


def write_bundle(folder: Path, manifest: Manifest, artifact_file: Path, sample: Sample) -> Bundle:
    """Assemble a bundle beside `folder` and give it that name when it is whole; an older bundle there is replaced.

    `artifact_file`: a file, or a folder such as a .mlpackage. `manifest.files`, its self-check and the artifact's
    relative path are filled in here; the reference code, the schema and the sample come along.

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
        _copy(artifact_file, whole / model)
        for path, source in glue_files(manifest.target.runtime).items():
            _copy(source, whole / GLUE / path)
        check = _write_sample(whole, manifest, sample)
        (whole / LABELS).write_text("".join(f"{entry.name}\n" for entry in manifest.classes))
        (whole / SCHEMA_FILE).write_text(schema_text())
        artifact = msgspec.structs.replace(manifest.artifact, path=model)
        complete = msgspec.structs.replace(manifest, artifact=artifact, self_check=check, files=_hashes(whole))
        _seal(whole, complete)
        _take_name(whole, folder, Path(name) / "replaced")
    return Bundle(folder, complete)


def _copy(source: Path, destination: Path) -> None:
    destination.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, destination)
    else:
        shutil.copyfile(source, destination)


def _write_sample(whole: Path, manifest: Manifest, sample: Sample) -> SelfCheck:
    """The sample for people (PNG) and for the self-check (PPM and PGM, which code reads without a library)."""
    pixels = np.ascontiguousarray(sample.image)
    Image.fromarray(pixels).save(whole / SAMPLE)
    mask_image(sample.labels, manifest).save(whole / EXPECTED)
    (whole / SELF_CHECK).mkdir()
    image = f"{SELF_CHECK}/sample.ppm"
    (whole / image).write_bytes(_pnm(pixels))
    answers = []
    for n, answer in enumerate(sample.answers):
        labels = f"{SELF_CHECK}/exit_{n}.pgm"
        (whole / labels).write_bytes(_pnm(answer.labels.reshape(answer.labels.shape[-2:]).astype(np.uint8)))
        answers.append(ExpectedAnswer(labels, answer.confidences))
    return SelfCheck(image, sample.exit, tuple(answers), sample.tolerance, LABEL_AGREEMENT)


def _pnm(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Binary PPM of [H, W, 3], PGM of [H, W]."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PPM")
    return buffer.getvalue()


def _hashes(whole: Path) -> dict[str, str]:
    """SHA-256 by path in the bundle, of every file so far."""
    files = sorted(file for file in whole.rglob("*") if file.is_file())
    return {file.relative_to(whole).as_posix(): sha256_path(file) for file in files}


def _seal(whole: Path, manifest: Manifest) -> None:
    """Write the manifest, and SHA256SUMS over everything."""
    content = encode_manifest(manifest)
    (whole / MANIFEST).write_bytes(content)
    sums = {**manifest.files, MANIFEST: sha256_bytes(content)}
    (whole / SUMS).write_text("".join(f"{digest}  {file}\n" for file, digest in sorted(sums.items())))


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
        if not _is_inside(name) or not file.is_file():
            raise VerificationError(f"bundle {folder}: {name} is missing; deploy again")
        if sha256_path(file) != digest or recorded.get(name) != digest:
            raise VerificationError(_changed(folder, name))
    artifact = folder / manifest.artifact.path
    if not artifact.exists() or sha256_path(artifact) != manifest.artifact.sha256:
        raise VerificationError(_changed(folder, manifest.artifact.path))
    return Bundle(folder, manifest)


def _is_inside(name: str) -> bool:
    """Whether a path of the manifest stays in the bundle."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


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
