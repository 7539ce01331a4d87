"""`run`: a deployed bundle on one image, here: the mask, the exit taken, the confidences, the host's time."""

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

    from mobile_export.bundle import Bundle
    from mobile_export.manifest import Manifest
    from mobile_export.session import CascadeResult

HELP = "run a deployed bundle on an image on this machine, or its self-check here or on a phone"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Bundle, image, where the mask goes; or the self-check."""
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder that `deploy` wrote: runs/NAME/deployment")
    parser.add_argument("image", type=Path, nargs="?", metavar="IMAGE", help="a photo in any format that Pillow reads")
    parser.add_argument("--output", type=Path, metavar="FILE.png", help="the mask (default: IMAGE with _mask.png)")
    parser.add_argument(
        "--deadline", metavar="DURATION", help="take the best answer by then (20ms), by the stages' times here"
    )
    parser.add_argument("--self-check", action="store_true", help="run the bundle's sample to every exit and compare")
    parser.add_argument(
        "--device",
        metavar="auto|SERIAL|HOST:PORT|emulated",
        help="with --self-check: on this phone, by the bundle's C++ reference",
    )


def handle(arguments: argparse.Namespace) -> int:
    """Verify the bundle, run it, write the mask in the image's own size, and print what happened."""
    from device_profiler.errors import InputError
    from mobile_export.bundle import read_bundle
    from pipeline.cli.output import emit
    from pipeline.durations import parse_duration

    if arguments.self_check == (arguments.image is not None):
        raise InputError("give an IMAGE, or --self-check without one; see `python -m pipeline run --help`")
    if arguments.device and not arguments.self_check:
        raise InputError("--device goes with --self-check: an IMAGE is run on this machine")
    if arguments.deadline and arguments.self_check:
        raise InputError("--deadline goes with an IMAGE: --self-check runs the sample to every exit")
    deadline_ns = math.inf if arguments.deadline is None else parse_duration(arguments.deadline)
    bundle = read_bundle(arguments.bundle)
    if arguments.self_check:
        return _self_check(bundle, arguments)
    image = read_image(arguments.image)
    result = _run(bundle, image, deadline_ns)
    output = arguments.output or arguments.image.with_name(f"{arguments.image.stem}_mask.png")
    _write_mask(result, bundle.manifest, image.size, output)
    record = _record(bundle, result, arguments.image, output, deadline_ns)
    emit(record, _lines(bundle, result, output), arguments.json)
    return 0


def _self_check(bundle: "Bundle", arguments: argparse.Namespace) -> int:
    from pipeline.cli.output import emit

    if arguments.device:
        where, lines = _check_on_phone(bundle, arguments.device)
    else:
        where, lines = "this machine", _check_here(bundle)
    record = {"bundle": str(bundle.folder), "on": where, "passed": True, "lines": list(lines)}
    emit(record, [*lines, f"self-check passed on {where}"], arguments.json)
    return 0


def _check_here(bundle: "Bundle") -> tuple[str, ...]:
    from mobile_export.self_check import compare_samples, make_sample

    manifest, expected = bundle.manifest, bundle.expected_sample()
    artifact, stored = manifest.artifact, bundle.stored(expected.image)
    tolerance = expected.tolerance
    found = make_sample(bundle.artifact_path, artifact.runtime, manifest.plan, expected.image, stored, tolerance)
    return compare_samples(expected, found)


def _check_on_phone(bundle: "Bundle", device: str) -> tuple[str, tuple[str, ...]]:
    from device_profiler.device import open_device
    from mobile_export.reference_check import check_reference_on_phone

    with open_device(device, bundle.manifest.target, require_device=False) as opened:
        lines = check_reference_on_phone(bundle, opened.transport)
        return f"{opened.identity.address} ({'emulated ' * opened.identity.emulated}{opened.identity.model})", lines


def read_image(path: Path) -> "Image":
    """An image as RGB, turned as its EXIF data says.

    Raises:
        InputError: no such file, none that Pillow reads, or one with more than 8 bits a channel.
    """
    from PIL import Image

    from device_profiler.errors import InputError
    from mobile_export.glue.python.cascade import BundleError
    from mobile_export.glue.python.cascade import read_image as read

    try:
        return Image.fromarray(read(path))
    except BundleError as error:
        raise InputError(str(error)) from error


def _run(bundle: "Bundle", image: "Image", deadline_ns: float) -> "CascadeResult":
    import numpy as np

    from mobile_export.session import HostSession

    manifest = bundle.manifest
    stored = bundle.stored(np.asarray(image))
    with HostSession(bundle.artifact_path, manifest.artifact.runtime) as session:
        session.run_cascade(manifest.plan, stored)  # the first run sets kernels up: not what is timed
        if deadline_ns < math.inf:
            session.run_cascade(manifest.plan, stored)  # and no time to expect of a stage
        return session.run_cascade(manifest.plan, stored, deadline_ns)


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


def _record(
    bundle: "Bundle", result: "CascadeResult", image: Path, output: Path, deadline_ns: float
) -> dict[str, object]:
    manifest = bundle.manifest
    return {
        "bundle": str(bundle.folder),
        "image": str(image),
        "mask": str(output),
        "exit": manifest.stages[result.exit].exit,
        "stage": result.exit,
        "confidences": list(result.confidences),
        "thresholds": [stage.threshold for stage in manifest.stages[:-1]],
        "deadline_ms": None if math.isinf(deadline_ns) else deadline_ns / 1e6,
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
        asked = "no threshold" if stage.threshold is None else f"threshold {stage.threshold:.4f}"
        lines.append(f"  {stage.exit}: confidence {confidence:.4f}, {asked}: {verdict}")
    lines.append(f"classes: {', '.join(f'{name} {share:.0%}' for name, share in shares)}")
    lines.append(f"time on this machine (not the phone's): {result.host_ns / 1e6:.1f} ms")
    expected = manifest.latency.expected
    lines.append(f"expected on {manifest.target.name}: {expected.value_ns / 1e6:.2f} ms ({expected.provenance})")
    return [*lines, f"mask: {output}"]
