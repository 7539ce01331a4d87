"""How steady a bundle is over video, and what steadying costs: flicker of exits and labels, latency, mIoU.

The video is real photos with exact masks (the `sample` source at twice the bundle's size), panned and zoomed a little
from frame to frame, with a camera's noise. The motion is known: labels are compared at the same point of the scene.

`python benchmarks/bundle/temporal.py BUNDLE [--scenes N] [--frames N]` writes results/temporal_<target>.json.
"""

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
from PIL import Image

from device_profiler.files import write_atomic
from mobile_export.bundle import read_bundle
from mobile_export.glue.python.cascade import Bytes, LabelFilter, Segmenter, Temporal
from mobile_export.manifest import Manifest
from pipeline.data.loading import load_source
from pipeline.data.source import DataAmounts, DataSource, Size

RESULTS = Path(__file__).parent / "results"
AMOUNTS = DataAmounts(train=1, search=1, certify=1, test=24)
MARGINS = (0.0, 0.01, 0.02, 0.05)
FRAMES_HELD = (1, 2, 3)
NOISE = 2.0
"""Standard deviation of a camera's noise in steps of 8 bits; assumed: a phone's preview stream in daylight."""
PAN, ZOOM, ROUND = 0.12, 0.06, 60
"""Amplitudes in shares of the frame, and frames for one round: about a pixel and a half a frame at 256."""

Indices = npt.NDArray[np.int64]


class Setting(msgspec.Struct, frozen=True):
    """One way of steadying, over all scenes.

    `exit_changes`: of 100 frames, how many leave at another exit than the frame before; `label_changes`: of 100 points
    of the scene seen in two frames in a row, how many change their label; `latency_ms`: mean over the frames, by the
    manifest's latency of each exit's path; `miou` against the masks.
    """

    exit_margin: float
    label_frames: int
    exit_changes: float
    label_changes: float
    latency_ms: float
    miou: float


class Record(msgspec.Struct, frozen=True):
    """The result file. `mask_label_changes`: of the true masks under the same motion, the floor of `label_changes`."""

    target: str
    setting: str
    provenance: str
    scenes: int
    frames: int
    noise: float
    thresholds: tuple[float, ...]
    mask_label_changes: float
    settings: tuple[Setting, ...]


@dataclass(frozen=True, eq=False)
class Frame:
    """What the camera sees: `box` (left, upper, right, lower) in the scene's pixels."""

    image: Bytes
    mask: Bytes
    box: tuple[float, float, float, float]


def film(scene: Bytes, mask: Bytes, size: Size, labels: Size, frames: int, seed: int) -> Iterator[Frame]:
    """A camera that pans in a circle and breathes over a scene [H, W, 3] with its mask [H, W].

    `size`, `labels`: of the frames' images and masks.
    """
    generator = np.random.default_rng(seed)
    height, width = scene.shape[:2]
    for n in range(frames):
        angle = 2 * math.pi * n / ROUND
        half = 0.25 * (1 + ZOOM * math.sin(angle))
        x, y = 0.5 + PAN * math.cos(angle), 0.5 + PAN * math.sin(2 * angle) / 2
        box = ((x - half) * width, (y - half) * height, (x + half) * width, (y + half) * height)
        shown = Image.fromarray(scene).resize(size[::-1], Image.Resampling.BILINEAR, box)
        noisy = np.asarray(shown) + generator.normal(0, NOISE, (*size, 3))
        cut = Image.fromarray(mask).resize(labels[::-1], Image.Resampling.NEAREST, box)
        yield Frame(np.rint(noisy).clip(0, 255).astype(np.uint8), np.asarray(cut), box)


def seen_before(now: Frame, before: Frame) -> tuple[npt.NDArray[np.bool_], Indices, Indices]:
    """For each pixel of `now`: whether its point of the scene was in `before`, and at which row and column."""
    height, width = now.mask.shape
    columns = _moved(np.arange(width), width, (now.box[0], now.box[2]), (before.box[0], before.box[2]))
    rows = _moved(np.arange(height), height, (now.box[1], now.box[3]), (before.box[1], before.box[3]))
    inside = ((rows >= 0) & (rows < height))[:, None] & (columns >= 0) & (columns < width)
    return inside, rows.clip(0, height - 1), columns.clip(0, width - 1)


def _moved(pixels: Indices, count: int, now: tuple[float, float], before: tuple[float, float]) -> Indices:
    points = now[0] + (pixels + 0.5) * (now[1] - now[0]) / count
    return np.floor((points - before[0]) * count / (before[1] - before[0])).astype(np.int64)


def label_changes(frames: list[Frame], labels: list[Bytes]) -> tuple[int, int]:
    """Points whose label changed between frames, and points compared."""
    changed = compared = 0
    for n in range(1, len(frames)):
        inside, rows, columns = seen_before(frames[n], frames[n - 1])
        was = labels[n - 1][rows[:, None], columns]
        changed += int(((labels[n] != was) & inside).sum())
        compared += int(inside.sum())
    return changed, compared


@dataclass(frozen=True, eq=False)
class Played:
    """Every frame of one scene, with the exits and labels that the bundle gave."""

    frames: list[Frame]
    exits: list[int]
    labels: list[Bytes]


def play(segmenter: Segmenter, scenes: list[list[Frame]], margin: float) -> list[Played]:
    """Run every scene as a sequence of its own."""
    segmenter.manifest = replace(segmenter.manifest, temporal=Temporal(exit_margin=margin))
    played = []
    for frames in scenes:
        segmenter.new_sequence()
        results = [segmenter.run(frame.image) for frame in frames]
        played.append(Played(frames, [one.exit for one in results], [one.labels for one in results]))
    return played


def judge(played: list[Played], margin: float, held: int, manifest: Manifest, ignore: int) -> Setting:
    """The figures of one setting; labels are steadied here, by the reference code's filter."""
    changed = compared = exit_changes = transitions = 0
    classes = len(manifest.classes)
    intersection, union = np.zeros(classes, np.int64), np.zeros(classes, np.int64)
    spent = []
    for one in played:
        steady = LabelFilter(held)
        labels = [steady(label) for label in one.labels]
        counts = label_changes(one.frames, labels)
        changed, compared = changed + counts[0], compared + counts[1]
        exit_changes += sum(a != b for a, b in zip(one.exits, one.exits[1:], strict=False))
        transitions += len(one.exits) - 1
        spent += [manifest.latency.by_exit[exit].value_ns for exit in one.exits]
        for frame, label in zip(one.frames, labels, strict=True):
            counted = frame.mask != ignore
            for c in range(classes):
                is_label, is_mask = (label == c) & counted, (frame.mask == c) & counted
                intersection[c] += int((is_label & is_mask).sum())
                union[c] += int((is_label | is_mask).sum())
    present = union > 0
    return Setting(
        exit_margin=margin,
        label_frames=held,
        exit_changes=100 * exit_changes / transitions,
        label_changes=100 * changed / compared,
        latency_ms=float(np.mean(spent)) / 1e6,
        miou=float((intersection[present] / union[present]).mean()),
    )


def measure(folder: Path, scenes: int, frames: int) -> Record:
    """All settings of one bundle."""
    bundle = read_bundle(folder)
    manifest = bundle.manifest
    size, labels = manifest.input.size, manifest.input.labels_size or manifest.input.size
    height, width = size
    source: DataSource = load_source("sample", size=(2 * height, 2 * width), area=4 * height * width, amounts=AMOUNTS)
    filmed = [
        list(film(source.test[n].image, source.test[n].mask, size, labels, frames, seed=n)) for n in range(scenes)
    ]
    segmenter = Segmenter(folder)
    settings = []
    for margin in MARGINS if manifest.plan.thresholds else MARGINS[:1]:
        played = play(segmenter, filmed, margin)
        settings += [judge(played, margin, held, manifest, source.classes.ignore) for held in FRAMES_HELD]
        for setting in settings[-len(FRAMES_HELD):]:
            print(setting, flush=True)
    counts = np.sum([label_changes(one, [frame.mask for frame in one]) for one in filmed], axis=0)
    return Record(
        target=manifest.target.name,
        setting=manifest.setting,
        provenance=manifest.latency.expected.provenance,
        scenes=scenes,
        frames=frames,
        noise=NOISE,
        thresholds=manifest.plan.thresholds,
        mask_label_changes=float(100 * counts[0] / counts[1]),
        settings=tuple(settings),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--scenes", type=int, default=8)
    parser.add_argument("--frames", type=int, default=ROUND)
    arguments = parser.parse_args()
    record = measure(arguments.bundle, arguments.scenes, arguments.frames)
    file = RESULTS / f"temporal_{record.target}.json"
    write_atomic(file, msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")


if __name__ == "__main__":
    main()
