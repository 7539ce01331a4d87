#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reference cascade of a bundle in one file: numpy, Pillow and the bundle's runtime are all that it needs.

    python cascade.py --self-check             hold this machine's answers to the sample against the validated ones
    python cascade.py IMAGE --output MASK.png  segment a photo; --deadline-ms 20 takes the best answer by then

The bundle is the folder that holds glue/python/cascade.py, or the one given by --bundle. In an app:

    segmenter = Segmenter(Path("deployment"))
    segmenter.self_check()                     # at the first start
    result = segmenter.run(rgb)                # uint8 [H, W, 3]; call it frame after frame, new_sequence() after a cut
    result = segmenter.run(rgb, 0.02)          # the best answer within 20 ms of this call
"""

import argparse
import hashlib
import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

SCHEMA = 2
"""Newest schema of manifest.json that this file reads."""
PIXEL_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
"""Pillow's modes with at most 8 bits a channel: only these become RGB without loss."""

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]


class BundleError(Exception):
    """One line that says what is wrong and what to do. `exit_code`: 2 for bad input, 5 where a check failed."""

    def __init__(self, message: str, exit_code: int = 2) -> None:
        super().__init__(message)
        self.exit_code = exit_code


# ---- manifest.json, as far as a host needs it ------------------------------------------------------------------------


class Affine(Protocol):
    """How a real value is stored: real = scale * (stored - zero_point)."""

    @property
    def scale(self) -> float:
        """Real size of one step."""

    @property
    def zero_point(self) -> int:
        """The stored value of zero."""


@dataclass(frozen=True)
class Quantization:
    """An `Affine` of manifest.json or of a file."""

    scale: float
    zero_point: int


@dataclass(frozen=True)
class ImageInput:
    """What the first stage takes: an RGB image of `size` (height, width).

    A byte becomes low + byte * (high - low) / 255, then (that - mean) / std by channel, then the stored value.
    """

    size: tuple[int, int]
    layout: str
    dtype: str
    low: float = 0.0
    high: float = 255.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    quantization: Quantization | None = None


@dataclass(frozen=True)
class Stage:
    """Run `entry`, leave at `exit` if the confidence >= `threshold`; `finish` turns its logits into labels.

    `threshold`: none at the last stage, and at every stage of an anytime bundle, where only a deadline ends.
    """

    entry: str
    exit: str
    threshold: float | None
    finish: str | None

    @property
    def limit(self) -> float:
        """Least confidence to leave with before the last stage."""
        return math.inf if self.threshold is None else self.threshold


@dataclass(frozen=True)
class Resolution:
    """One size that the file runs at: what it takes, and its stages."""

    input: ImageInput
    stages: tuple[Stage, ...]


@dataclass(frozen=True)
class Temporal:
    """Steadiness over video, see `Segmenter.run` and `LabelFilter`; margin 0 and 1 frame mean every frame by itself."""

    exit_margin: float = 0.0
    label_frames: int = 1


@dataclass(frozen=True)
class Answer:
    """What the sample image gives when it leaves at one exit: `labels` names a file, `confidences` are those met."""

    labels: str
    confidences: tuple[float, ...]


@dataclass(frozen=True)
class SelfCheck:
    """The sample image, the exit it takes, and its answer at every exit, with the tolerances that a device may use."""

    image: str
    exit: int
    answers: tuple[Answer, ...]
    confidence_tolerance: float
    label_agreement: float


@dataclass(frozen=True)
class Manifest:
    """The part of manifest.json that running needs. `resolutions`: the validated one first."""

    model: str
    runtime: str
    classes: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    resolutions: tuple[Resolution, ...]
    temporal: Temporal
    self_check: SelfCheck | None
    files: Mapping[str, str]


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the bundle in `folder`, every file held against its SHA-256.

    Raises:
        BundleError: no bundle, a newer schema, a missing or a changed file.
    """
    file = folder / "manifest.json"
    if not file.is_file():
        raise BundleError(f"no bundle in {folder}: manifest.json is missing; give the folder that holds it")
    content, recorded = file.read_bytes(), _recorded_hashes(folder)
    _check_hash(folder, "manifest.json", content, recorded)
    try:
        parsed = json.loads(content)
        if parsed["schema"] > SCHEMA:
            raise BundleError(
                f"{file} has schema {parsed['schema']}, this code reads up to {SCHEMA}: use the bundle's own glue"
            )
        manifest = _manifest(parsed)
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{file} is no manifest of a deployment ({type(error).__name__}: {error})") from error
    for name in manifest.files:
        if not (folder / name).is_file():
            raise BundleError(f"bundle {folder}: {name} is missing; copy the bundle again", 5)
        _check_hash(folder, name, (folder / name).read_bytes(), recorded)
    return manifest


def _recorded_hashes(folder: Path) -> Mapping[str, str]:
    """File name to SHA-256, from SHA256SUMS (the format of `sha256sum -c`)."""
    file = folder / "SHA256SUMS"
    if not file.is_file():
        raise BundleError(f"bundle {folder}: SHA256SUMS is missing; copy the bundle again", 5)
    pairs = (line.split("  ", 1) for line in file.read_text(errors="replace").splitlines())
    return {pair[1]: pair[0] for pair in pairs if len(pair) == 2}


def _check_hash(folder: Path, name: str, content: bytes, recorded: Mapping[str, str]) -> None:
    if recorded.get(name) != hashlib.sha256(content).hexdigest():
        raise BundleError(
            f"bundle {folder}: {name} was changed since it was written (its SHA-256 differs); copy the bundle again", 5
        )


def _manifest(parsed: Mapping[str, Any]) -> Manifest:
    first = Resolution(_input(parsed["input"]), _stages(parsed["stages"]))
    others = [Resolution(_input(one["input"]), _stages(one["stages"])) for one in parsed.get("resolutions", ())]
    check = parsed.get("self_check")
    return Manifest(
        model=parsed["artifact"]["path"],
        runtime=parsed["artifact"]["runtime"],
        classes=tuple(entry["name"] for entry in parsed["classes"]),
        colors=tuple((entry["color"][0], entry["color"][1], entry["color"][2]) for entry in parsed["classes"]),
        resolutions=(first, *others),
        temporal=Temporal(**parsed.get("temporal", {})),
        self_check=None if check is None else _self_check(check),
        files=dict(parsed["files"]),
    )


def _input(parsed: Mapping[str, Any]) -> ImageInput:
    known = {name: parsed[name] for name in ("low", "high") if name in parsed}
    known |= {name: tuple(parsed[name]) for name in ("mean", "std") if name in parsed}
    affine = parsed.get("quantization")
    return ImageInput(
        size=(parsed["size"][0], parsed["size"][1]),
        layout=parsed["layout"],
        dtype=parsed["dtype"],
        quantization=None if affine is None else Quantization(affine["scale"], affine["zero_point"]),
        **known,
    )


def _stages(parsed: Sequence[Mapping[str, Any]]) -> tuple[Stage, ...]:
    return tuple(Stage(one["entry"], one["exit"], one["threshold"], one["finish"]) for one in parsed)


def _self_check(parsed: Mapping[str, Any]) -> SelfCheck:
    answers = tuple(Answer(one["labels"], tuple(one["confidences"])) for one in parsed["answers"])
    return SelfCheck(
        parsed["image"], parsed["exit"], answers, parsed["confidence_tolerance"], parsed["label_agreement"]
    )


# ---- from a picture to the first stage's input -----------------------------------------------------------------------


def read_image(path: Path) -> Bytes:
    """A photo as RGB, uint8 [H, W, 3], turned as its EXIF data says.

    Raises:
        BundleError: no such file, none that Pillow reads, or one with more than 8 bits a channel.
    """
    if not path.is_file():
        raise BundleError(f"no image at {path}")
    try:
        with Image.open(path) as opened:
            if opened.mode not in PIXEL_MODES:
                raise BundleError(
                    f"{path} has pixels of mode {opened.mode!r}, more than 8 bits a channel: convert it to an 8-bit PNG"
                )
            return np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BundleError(f"{path} is no image that can be read ({error}); give a PNG or JPEG file") from error


def store_image(rgb: Bytes, wanted: ImageInput) -> Array:
    """An RGB image uint8 [H, W, 3] of any size as the first stage stores it.

    Resized by the triangle filter (Pillow's BILINEAR: widened when shrinking), its shape not kept.

    Raises:
        BundleError: not such an image.
    """
    _check_image(rgb)
    height, width = wanted.size
    if rgb.shape[:2] != wanted.size:
        rgb = np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.BILINEAR))
    if wanted.dtype == "uint8" and wanted.quantization is None:
        stored: Array = rgb
    else:
        real = np.float32(wanted.low) + rgb.astype(np.float32) * np.float32((wanted.high - wanted.low) / 255)
        stored = _stored((real - np.array(wanted.mean, np.float32)) / np.array(wanted.std, np.float32), wanted)
    moved = stored.transpose(2, 0, 1) if wanted.layout == "NCHW" else stored
    return np.ascontiguousarray(moved[None])


def _check_image(rgb: Bytes) -> None:
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or not rgb.size:
        raise BundleError(f"an image is uint8 [height, width, 3] in RGB, but this is {rgb.dtype} {list(rgb.shape)}")


def _stored(real: Array, wanted: ImageInput) -> Array:
    if wanted.quantization is None:
        return real.astype(wanted.dtype)
    limits = np.iinfo(wanted.dtype)
    steps = np.rint(real / np.float32(wanted.quantization.scale)) + wanted.quantization.zero_point
    stored: Array = np.clip(steps, limits.min, limits.max).astype(wanted.dtype)
    return stored


Matrix = Literal["bt601", "bt709"]
_LUMA = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}  # Kr and Kb of ITU-R BT.601 and BT.709


def rgb_from_nv21(frame: Bytes, size: tuple[int, int], matrix: Matrix = "bt601", video_range: bool = False) -> Bytes:
    """Android's camera frame as RGB [H, W, 3]: H*W bytes of Y, then Cr and Cb in turn for each 2x2 pixels.

    Raises:
        BundleError: odd sides, or too few bytes.
    """
    y, chroma = _planes(frame, size)
    return _rgb(y, chroma[..., 1], chroma[..., 0], matrix, video_range)


def rgb_from_420v(y: Bytes, cbcr: Bytes, matrix: Matrix = "bt709", video_range: bool = True) -> Bytes:
    """Apple's bi-planar camera frame as RGB: `y` [H, W], `cbcr` [H/2, W/2, 2]; 420f is `video_range=False`."""
    return _rgb(y, cbcr[..., 0], cbcr[..., 1], matrix, video_range)


def _planes(frame: Bytes, size: tuple[int, int]) -> tuple[Bytes, Bytes]:
    height, width = size
    if height % 2 or width % 2 or frame.size < height * width * 3 // 2:
        raise BundleError(
            f"an NV21 frame of {width}x{height} has even sides and {height * width * 3 // 2} bytes, not {frame.size}"
        )
    flat = frame.reshape(-1)
    chroma = flat[height * width : height * width * 3 // 2].reshape(height // 2, width // 2, 2)
    return flat[: height * width].reshape(size), chroma


def _rgb(y: Bytes, cb: Bytes, cr: Bytes, matrix: Matrix, video_range: bool) -> Bytes:
    """R = Y + 2(1-Kr)Cr, B = Y + 2(1-Kb)Cb, G from Y = Kr R + Kg G + Kb B; a chroma sample serves its 2x2 pixels."""
    kr, kb = _LUMA[matrix]
    offset, y_scale, c_scale = (16, 255 / 219, 255 / 224) if video_range else (0, 1.0, 1.0)
    luma = (y.astype(np.float32) - offset) * np.float32(y_scale)
    blue, red = (
        (plane.repeat(2, 0).repeat(2, 1).astype(np.float32) - 128) * np.float32(c_scale) for plane in (cb, cr)
    )
    r, b = luma + np.float32(2 * (1 - kr)) * red, luma + np.float32(2 * (1 - kb)) * blue
    g = (luma - np.float32(kr) * r - np.float32(kb) * b) / np.float32(1 - kr - kb)
    rgb: Bytes = np.clip(np.floor(np.stack([r, g, b], axis=-1) + np.float32(0.5)), 0, 255).astype(np.uint8)
    return rgb


# ---- the runtimes ----------------------------------------------------------------------------------------------------


class Runtime(Protocol):
    """A loaded file: named entries that map stored arrays to stored arrays."""

    def run(self, entry: str, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """Outputs of `entry`, in order."""

    def output_quantization(self, entry: str) -> Sequence[Affine | None]:
        """Quantisation of each output of `entry`; None where it is stored as it is meant."""


class LiteRT:
    """A .tflite file on LiteRT's interpreter, or on tflite-runtime's where only that one is installed."""

    def __init__(self, file: Path, threads: int) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError:
            try:
                from tflite_runtime.interpreter import Interpreter  # type: ignore[import-not-found]
            except ImportError as error:
                raise BundleError(f"{file.name} needs LiteRT: pip install ai-edge-litert") from error
        self._interpreter = Interpreter(model_path=str(file), num_threads=threads)
        self._runners: dict[str, Any] = {}

    def run(self, entry: str, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """See `Runtime`."""
        runner = self._runner(entry)
        outputs = runner(**dict(zip(_by_number(runner.get_input_details()), inputs, strict=True)))
        return tuple(outputs[name] for name in _by_number(outputs))

    def output_quantization(self, entry: str) -> Sequence[Affine | None]:
        """See `Runtime`."""
        details = self._runner(entry).get_output_details()
        pairs = (details[name]["quantization"] for name in _by_number(details))
        return [Quantization(float(scale), int(zero)) if scale else None for scale, zero in pairs]

    def _runner(self, entry: str) -> Any:
        if entry not in self._runners:
            self._runners[entry] = self._interpreter.get_signature_runner(entry)
        return self._runners[entry]


def _by_number(names: Mapping[str, Any]) -> list[str]:
    """output_2 before output_10."""
    return sorted(names, key=lambda name: (len(name), name))


class ExecuTorch:
    """A .pte file on ExecuTorch's Python binding, which stands on torch."""

    def __init__(self, file: Path, threads: int) -> None:
        try:
            import torch
            from executorch.extension.pybindings import portable_lib
            from executorch.runtime import Runtime as Loader
        except ImportError as error:
            raise BundleError(f"{file.name} needs ExecuTorch: pip install executorch") from error
        torch.set_num_threads(threads)
        portable_lib._unsafe_reset_threadpool(threads)
        self._tensor = torch.from_numpy
        self._program = Loader.get().load_program(file)
        self._methods: dict[str, Any] = {}

    def run(self, entry: str, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """See `Runtime`; outputs are copied here, since the binding's own clones cost milliseconds."""
        if entry not in self._methods:
            self._methods[entry] = self._program.load_method(entry)._method
        tensors = [self._tensor(np.ascontiguousarray(array)) for array in inputs]
        return tuple(output.numpy().copy() for output in self._methods[entry].call(tensors, False))

    def output_quantization(self, entry: str) -> Sequence[Affine | None]:
        """See `Runtime`."""
        return [None] * int(self._program.metadata(entry).num_outputs())


def open_runtime(file: Path, runtime: str, threads: int) -> Runtime:
    """The runtime that a manifest names, with `file` loaded.

    Raises:
        BundleError: it is not installed, or has no Python here.
    """
    if runtime == "litert":
        return LiteRT(file, threads)
    if runtime == "executorch":
        return ExecuTorch(file, threads)
    raise BundleError(f"{file.name} is for runtime {runtime!r}, which has no Python reference: use another of glue/")


# ---- the cascade -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Result:
    """One image through the cascade.

    `exit`: which stage it left at, from 0; `confidences`: of the stages met, without the last stage's (it has none);
    `labels`: class indices as the file stores them, [1, H, W] or [H, W]; `host_ns`: wall time of the stages.
    """

    exit: int
    confidences: tuple[float, ...]
    labels: Array
    host_ns: int


class Pace:
    """How long every entry took when it last ran: a stage is begun only where its answer will be there in time.

    What never ran is tried. A stage that was passed over is expected a little sooner the next time, so that one slow
    run does not shut it out.
    """

    EASE = 0.98

    def __init__(self) -> None:
        self._ns: dict[str, float] = {}

    def run(self, runtime: Runtime, entry: str, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """Run an entry and remember its time."""
        begun = time.perf_counter_ns()
        outputs = runtime.run(entry, inputs)
        self._ns[entry] = time.perf_counter_ns() - begun
        return outputs

    def allows(self, entries: Sequence[str], left_ns: float) -> bool:
        """Whether `entries` fit into the time that is left."""
        if sum(self._ns.get(entry, 0.0) for entry in entries) <= left_ns:
            return True
        self._ns |= {entry: self._ns[entry] * self.EASE for entry in entries if entry in self._ns}
        return False


def run_stages(
    runtime: Runtime,
    entries: Sequence[str],
    finish: Sequence[str],
    limits: Sequence[float],
    image: Array,
    pace: Pace | None = None,
    ends_ns: float = math.inf,
) -> Result:
    """The loop of every host: the next stage runs while the confidence stays below its limit (float32), in time.

    `entries`: the stages; all but the last give (features, logits, confidence), the last one (labels,). `finish[n]`
    turns the logits of stage n into labels; `finish` and `limits`: one a stage but the last. `ends_ns`: the deadline on
    the clock of time.perf_counter_ns; the first stage runs in any case. `pace`: of the frames before.
    """
    start, pace = time.perf_counter_ns(), pace or Pace()
    handed_on, confidences, position = image, [], 0
    for position, entry in enumerate(entries):
        outputs = pace.run(runtime, entry, (handed_on,))
        if position == len(entries) - 1:
            # A bundle of schema 1 has a finish for the last stage too.
            labels = outputs[0] if len(finish) < len(entries) else runtime.run(finish[position], outputs)[0]
            break
        handed_on, logits, stored = outputs
        confidences.append(real_confidence(stored, runtime.output_quantization(entry)[2]))
        sure = np.float32(confidences[-1]) >= np.float32(limits[position])
        following = (entries[position + 1], *finish[position + 1 : position + 2])
        if sure or not pace.allows(following, ends_ns - time.perf_counter_ns()):
            labels = pace.run(runtime, finish[position], (logits,))[0]
            break
    return Result(position, tuple(confidences), labels, time.perf_counter_ns() - start)


def real_confidence(stored: Array, quantization: Affine | None) -> float:
    """The float32 confidence that is compared: scale * (stored - zero_point), or the stored value itself."""
    value = np.asarray(stored).reshape(-1)[0]
    if quantization is None:
        return float(np.float32(value))
    return float(np.float32(quantization.scale) * np.float32(int(value) - quantization.zero_point))


class LabelFilter:
    """Steady labels over video: a pixel takes a new label once it was seen in `frames` frames in a row."""

    def __init__(self, frames: int) -> None:
        self._frames = frames
        self.reset()

    def reset(self) -> None:
        """Forget the frames so far."""
        self._shown = self._before = self._count = np.zeros((0, 0), np.uint8)

    def __call__(self, labels: Bytes) -> Bytes:
        """The labels to show for this frame."""
        if self._frames <= 1 or self._shown.shape != labels.shape:
            self._shown, self._before, self._count = labels.copy(), labels.copy(), np.zeros(labels.shape, np.uint8)
            return self._shown
        self._count = np.where(labels == self._before, np.minimum(self._count, 254) + 1, 1).astype(np.uint8)
        self._before = labels.copy()
        self._shown = np.where(self._count >= self._frames, labels, self._shown)
        return self._shown


class Segmenter:
    """A bundle, loaded and ready for images."""

    def __init__(self, folder: Path, threads: int = 1) -> None:
        """Verify the bundle in `folder` and load it.

        Raises:
            BundleError: see `read_manifest` and `open_runtime`.
        """
        self.folder = folder
        self.manifest = read_manifest(folder)
        self._runtime = open_runtime(folder / self.manifest.model, self.manifest.runtime, threads)
        self._filter = LabelFilter(self.manifest.temporal.label_frames)
        self._pace = Pace()
        self._previous: int | None = None

    def new_sequence(self) -> None:
        """Forget the frames so far: after a cut, or when the camera starts again."""
        self._previous = None
        self._filter.reset()

    def choose(self, width: int, height: int) -> Resolution:
        """The resolution whose shape is nearest to the image's: portrait for portrait; the validated one wins ties."""
        def stretch(resolution: Resolution) -> float:
            rows, columns = resolution.input.size
            return abs(math.log(width / height) - math.log(columns / rows))

        return min(self.manifest.resolutions, key=stretch)

    def run(self, rgb: Bytes, deadline: float = math.inf) -> Result:
        """Segment an RGB image uint8 [H, W, 3], the next frame of the sequence; labels are uint8 at the file's size.

        A frame leaves at the first exit whose confidence reaches its threshold; where the frame before went deeper
        than that exit, `exit_margin` more is asked. Limits only rise: no frame leaves less sure than was validated.
        `deadline`: seconds from this call. A stage that would not end by then, by what it took the last time, is not
        begun: the answer is that of the exit before it (of the first one at least).

        Raises:
            BundleError: not such an image.
        """
        ends_ns = time.perf_counter_ns() + deadline * 1e9
        _check_image(rgb)
        resolution = self.choose(rgb.shape[1], rgb.shape[0])
        result = self._run(resolution, rgb, self._limits(resolution), ends_ns)
        self._previous = result.exit
        return Result(result.exit, result.confidences, self._filter(_plain(result.labels)), result.host_ns)

    def _limits(self, resolution: Resolution) -> list[float]:
        margin = self.manifest.temporal.exit_margin
        return [
            stage.limit + (margin if self._previous is not None and self._previous > n else 0.0)
            for n, stage in enumerate(resolution.stages[:-1])
        ]

    def _run(self, resolution: Resolution, rgb: Bytes, limits: Sequence[float], ends_ns: float = math.inf) -> Result:
        entries = [stage.entry for stage in resolution.stages]
        finish = [stage.finish for stage in resolution.stages if stage.finish is not None]
        image = store_image(rgb, resolution.input)
        return run_stages(self._runtime, entries, finish, limits, image, self._pace, ends_ns)

    def self_check(self) -> tuple[str, ...]:
        """Run the sample image to every exit and hold confidences and labels against the expected ones; says what held.

        Raises:
            BundleError: this device computes something else than was validated (exit code 5).
        """
        check, resolution = self.manifest.self_check, self.manifest.resolutions[0]
        if check is None:
            raise BundleError(f"bundle {self.folder} is of schema 1 and has no self-check: deploy again")
        rgb = read_image(self.folder / check.image)
        as_deployed = self._run(resolution, rgb, [stage.limit for stage in resolution.stages[:-1]])
        if as_deployed.exit != check.exit:
            raise BundleError(f"self-check failed: the sample leaves at exit {as_deployed.exit}, not {check.exit}", 5)
        lines = [f"the sample leaves at {resolution.stages[check.exit].exit}, as expected"]
        for n, answer in enumerate(check.answers):
            result = self._run(resolution, rgb, [math.inf] * n + [-math.inf] * (len(resolution.stages) - 1 - n))
            lines.append(self._compare(resolution.stages[n].exit, result, answer, check))
        return tuple(lines)

    def _compare(self, name: str, result: Result, answer: Answer, check: SelfCheck) -> str:
        expected = np.asarray(Image.open(self.folder / answer.labels))
        equal = float((_plain(result.labels) == expected).mean())
        pairs = zip(result.confidences, answer.confidences, strict=True)
        error = max((abs(ours - theirs) for ours, theirs in pairs), default=0.0)
        if equal < check.label_agreement or not error <= check.confidence_tolerance:
            raise BundleError(
                f"self-check failed at {name}: {equal:.4f} of the labels agree ({check.label_agreement} must), "
                f"confidences differ by {error:.2g} ({check.confidence_tolerance:g} may)", 5,
            )
        return f"{name}: {equal:.4f} of the labels agree, confidences differ by {error:.2g} at most"


def _plain(labels: Array) -> Bytes:
    """Labels as uint8 [H, W]."""
    return labels.reshape(labels.shape[-2:]).astype(np.uint8)


def mask_image(labels: Array, colors: Sequence[tuple[int, int, int]]) -> Image.Image:
    """Labels as a palette image: pixels are class indices, the palette has the manifest's colours."""
    image = Image.fromarray(_plain(labels))
    image.putpalette([value for color in colors for value in color])
    return image


# ---- command line ----------------------------------------------------------------------------------------------------


def main(words: Sequence[str]) -> int:
    """0 done, 2 bad input, 5 a check failed; one line on stderr says why."""
    parser = argparse.ArgumentParser(description="Run a deployment bundle, or its self-check.")
    parser.add_argument("image", type=Path, nargs="?", metavar="IMAGE")
    parser.add_argument("--bundle", type=Path, default=Path(__file__).resolve().parents[2], metavar="FOLDER")
    parser.add_argument("--output", type=Path, metavar="MASK.png", help="default: IMAGE with _mask.png")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--deadline-ms", type=float, default=math.inf, help="take the best answer by then")
    parser.add_argument("--self-check", action="store_true", help="hold this device against the validated answers")
    arguments = parser.parse_args(words)
    if arguments.image is None and not arguments.self_check:
        parser.error("give an IMAGE or --self-check")
    try:
        segmenter = Segmenter(arguments.bundle, arguments.threads)
        if arguments.self_check:
            print("\n".join(segmenter.self_check()))
        if arguments.image is not None:
            _segment(segmenter, arguments.image, arguments.output, arguments.deadline_ms / 1e3)
    except BundleError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _segment(segmenter: Segmenter, image: Path, output: Path | None, deadline: float) -> None:
    rgb = read_image(image)
    if deadline < math.inf:
        segmenter.run(rgb)  # what the stages take is learned by running them
    result = segmenter.run(rgb, deadline)
    stage = segmenter.choose(rgb.shape[1], rgb.shape[0]).stages[result.exit]
    mask = mask_image(result.labels, segmenter.manifest.colors)
    file = output or image.with_name(f"{image.stem}_mask.png")
    mask.resize((rgb.shape[1], rgb.shape[0]), Image.Resampling.NEAREST).save(file, format="PNG")
    met = ", ".join(f"{value:.4f}" for value in result.confidences) or "none"
    print(f"exit {stage.exit} after {result.host_ns / 1e6:.1f} ms here; confidences: {met}; mask: {file}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
