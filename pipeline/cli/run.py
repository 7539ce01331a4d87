"""`run`: a deployed bundle on one image, here: the mask, the exit taken, the confidences, the host's time."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

    from mobile_export.bundle import Bundle
    from mobile_export.manifest import Manifest
    from mobile_export.session import CascadeResult

HELP = "run a deployed bundle on an image, on this machine"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Bundle, image, and where the mask goes."""
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder that `deploy` wrote: runs/NAME/deployment")
    parser.add_argument("image", type=Path, metavar="IMAGE", help="a photo in any format that Pillow reads")
    parser.add_argument("--output", type=Path, metavar="FILE.png", help="the mask (default: IMAGE with _mask.png)")


def handle(arguments: argparse.Namespace) -> int:
    """Verify the bundle, run it, write the mask in the image's own size, and print what happened."""
    from mobile_export.bundle import read_bundle
    from pipeline.cli.output import emit

    bundle = read_bundle(arguments.bundle)
    image = read_image(arguments.image)
    result = _run(bundle, image)
    output = arguments.output or arguments.image.with_name(f"{arguments.image.stem}_mask.png")
    _write_mask(result, bundle.manifest, image.size, output)
    record = _record(bundle, result, arguments.image, output)
    emit(record, _lines(bundle, result, output), arguments.json)
    return 0


def read_image(path: Path) -> "Image":
    """An image as RGB, turned as its EXIF data says.

    Raises:
        InputError: no such file, or none that Pillow reads.
    """
    from PIL import Image, ImageOps

    from device_profiler.errors import InputError

    if not path.is_file():
        raise InputError(f"no image at {path}")
    try:
        with Image.open(path) as opened:
            return ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} is no image that can be read ({error}); give a PNG or JPEG file") from error


def _run(bundle: "Bundle", image: "Image") -> "CascadeResult":
    import numpy as np
    from PIL.Image import Resampling

    from mobile_export.boundary import to_stored
    from mobile_export.session import HostSession

    manifest = bundle.manifest
    height, width = manifest.input.size
    pixels = np.asarray(image.resize((width, height), Resampling.BILINEAR), np.float32)
    port = manifest.artifact.entry(manifest.stages[0].entry).inputs[0]
    stored = to_stored(port, pixels.transpose(2, 0, 1)[None])
    with HostSession(bundle.artifact_path, manifest.artifact.runtime) as session:
        session.run_cascade(manifest.plan, stored)  # the first run sets kernels up: not what is timed
        return session.run_cascade(manifest.plan, stored)


def _write_mask(result: "CascadeResult", manifest: "Manifest", size: tuple[int, int], output: Path) -> None:
    from PIL.Image import Resampling

    from device_profiler.errors import InputError
    from device_profiler.files import atomic_path
    from mobile_export.bundle import mask_image

    mask = mask_image(result.labels, manifest).resize(size, Resampling.NEAREST)
    try:
        with atomic_path(output) as temporary:
            mask.save(temporary, format="PNG")
    except OSError as error:
        raise InputError(f"can't write the mask to {output} ({error.strerror}); choose another by --output") from error


def _record(bundle: "Bundle", result: "CascadeResult", image: Path, output: Path) -> dict[str, object]:
    manifest = bundle.manifest
    return {
        "bundle": str(bundle.folder),
        "image": str(image),
        "mask": str(output),
        "exit": manifest.stages[result.exit].exit,
        "stage": result.exit,
        "confidences": list(result.confidences),
        "thresholds": list(manifest.plan.thresholds),
        "class_shares": _shares(result, manifest),
        "host_ms": result.host_ns / 1e6,
        "runtime": manifest.artifact.runtime,
    }


def _shares(result: "CascadeResult", manifest: "Manifest") -> dict[str, float]:
    """Share of the pixels by class, for the classes that occur."""
    counts = [int((result.labels == index).sum()) for index in range(len(manifest.classes))]
    pairs = zip(manifest.classes, counts, strict=True)
    return {entry.name: count / result.labels.size for entry, count in pairs if count}


def _lines(bundle: "Bundle", result: "CascadeResult", output: Path) -> list[str]:
    manifest = bundle.manifest
    shares = sorted(_shares(result, manifest).items(), key=lambda pair: -pair[1])
    lines = [f"exit taken: {manifest.stages[result.exit].exit} ({result.exit + 1} of {len(manifest.stages)} stages)"]
    for stage, confidence in zip(manifest.stages, result.confidences, strict=False):
        verdict = "left here" if stage is manifest.stages[result.exit] else "went on"
        lines.append(f"  {stage.exit}: confidence {confidence:.4f}, threshold {stage.threshold:.4f}: {verdict}")
    lines.append(f"classes: {', '.join(f'{name} {share:.0%}' for name, share in shares)}")
    lines.append(f"time on this machine (not the phone's): {result.host_ns / 1e6:.1f} ms")
    expected = manifest.latency.expected
    lines.append(f"expected on {manifest.target.name}: {expected.value_ns / 1e6:.2f} ms ({expected.provenance})")
    return [*lines, f"mask: {output}"]
