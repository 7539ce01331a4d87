"""The Python reference in a bundle: alone with the runtime it gives the validated answers; bad input is one line."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from test_bundle import rewrite_manifest

from mobile_export.artifact import Artifact
from mobile_export.boundary import to_stored
from mobile_export.bundle import Bundle
from mobile_export.glue.python import cascade
from mobile_export.glue.python.cascade import (
    BundleError,
    ImageInput,
    LabelFilter,
    Quantization,
    Segmenter,
    rgb_from_420v,
    rgb_from_nv21,
    run_stages,
    store_image,
)

FORBIDDEN = ("pipeline", "mobile_export", "device_profiler", "msgspec")
ALONE = f"""
import importlib.abc, runpy, sys

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {FORBIDDEN}:
            raise AssertionError(f"the reference code imports {{name}}")

sys.meta_path.insert(0, Blocker())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
Pixels = npt.NDArray[np.uint8]


def run_alone(folder: Path, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The bundle's own cascade.py, isolated from the project and from the folder it is started in."""
    script = folder / "glue" / "python" / "cascade.py"
    command = [sys.executable, "-I", "-c", ALONE, str(script), *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("which", ["bundle", "pte_bundle", "frame_bundle"])
def test_a_copy_elsewhere_reproduces_the_expected_output(
    which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    bundle: Bundle = request.getfixturevalue(which)
    empty, copy = tmp_path / "empty", tmp_path / "app" / "assets"
    empty.mkdir()
    shutil.copytree(bundle.folder, copy)
    expected = bundle.expected_labels()
    shutil.rmtree(bundle.folder)

    done = run_alone(copy, "--self-check", str(copy / "sample.png"), "--output", str(empty / "mask.png"), cwd=empty)

    assert done.returncode == 0, done.stderr[-2000:]
    assert "the sample leaves at exit1, as expected" in done.stdout
    assert done.stdout.count("1.0000 of the labels agree") == 2
    with Image.open(empty / "mask.png") as mask:
        assert mask.size == Image.open(copy / "sample.png").size
        assert np.array_equal(np.asarray(mask.resize(expected.shape[::-1], Image.Resampling.NEAREST)), expected)


def answer(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code and the one line on stderr."""
    code = cascade.main(words)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1
    return code, captured.err


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "code", "text"),
    [
        (lambda b: flip(b.folder / "model.tflite"), 5, "model.tflite was changed since it was written"),
        (lambda b: flip(b.folder / "manifest.json"), 5, "manifest.json was changed since it was written"),
        (lambda b: (b.folder / "self_check" / "sample.ppm").unlink(), 5, "self_check/sample.ppm is missing"),
        (lambda b: (b.folder / "SHA256SUMS").unlink(), 5, "SHA256SUMS is missing"),
        (lambda b: (b.folder / "manifest.json").unlink(), 2, "no bundle in"),
        (lambda b: rewrite_manifest(b, lambda m: m.update(schema=99)), 2, "has schema 99, this code reads up to 2"),
        (lambda b: rewrite_manifest(b, lambda m: m.pop("stages")), 2, "is no manifest of a deployment (KeyError: 'sta"),
    ],
)
def test_a_harmed_bundle_is_one_line(
    bundle: Bundle, harm: Callable[[Bundle], None], code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    harm(bundle)
    found, line = answer(["--bundle", str(bundle.folder), "--self-check"], capsys)
    assert found == code
    assert text in line


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("absent.png", "no image at"),
        ("text.png", "is no image that can be read"),
        ("deep.png", "more than 8 bits a channel: convert it to an 8-bit PNG"),
    ],
)
def test_an_image_of_a_wrong_type_is_one_line(
    bundle: Bundle, name: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.png").write_text("no image")
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(tmp_path / "deep.png")
    code, line = answer(["--bundle", str(bundle.folder), str(tmp_path / name)], capsys)
    assert code == 2
    assert text in line


@pytest.mark.parametrize("shape", [(64, 64), (64, 64, 4), (1, 64, 64, 3), (0, 64, 3)])
def test_an_array_of_a_wrong_shape_is_refused(bundle: Bundle, shape: tuple[int, ...]) -> None:
    with pytest.raises(BundleError, match=r"an image is uint8 \[height, width, 3\] in RGB, but this is uint8"):
        Segmenter(bundle.folder).run(np.zeros(shape, np.uint8))
    with pytest.raises(BundleError, match="this is float32"):
        Segmenter(bundle.folder).run(np.zeros((64, 64, 3), np.float32))


def test_a_device_that_computes_something_else_fails_the_self_check(bundle: Bundle) -> None:
    wrong = Segmenter(bundle.folder)
    expected = bundle.folder / "self_check" / "exit_1.pgm"
    Image.new("L", (64, 64), 4).save(expected, format="PPM")
    with pytest.raises(BundleError, match=r"self-check failed at exit3: 0.*of the labels agree") as caught:
        wrong.self_check()
    assert caught.value.exit_code == 5


# ---- the image's way in ----------------------------------------------------------------------------------------------


def photo(height: int, width: int) -> Pixels:
    """Random colours, smooth over 2x2 pixels as chroma is sampled."""
    small = np.random.default_rng(3).integers(0, 256, (height // 2, width // 2, 3), dtype=np.uint8)
    return small.repeat(2, 0).repeat(2, 1)


def test_the_stored_image_is_what_the_exporter_was_checked_with(artifact: Artifact, bundle: Bundle) -> None:
    rgb = photo(64, 64)
    port = artifact.entry("stage_0").inputs[0]
    assert np.array_equal(bundle.stored(rgb), to_stored(port, rgb.transpose(2, 0, 1)[None].astype(np.float32)))


@pytest.mark.parametrize(
    ("wanted", "of_100_200_0"),
    [
        (ImageInput((2, 2), "NHWC", "uint8"), [100, 200, 0]),
        (ImageInput((2, 2), "NHWC", "int8", quantization=Quantization(1.0, -128)), [-28, 72, -128]),
        (ImageInput((2, 2), "NHWC", "float32", 0.0, 1.0), [100 / 255, 200 / 255, 0]),
        (ImageInput((2, 2), "NHWC", "float32", mean=(100, 100, 100), std=(50, 50, 50)), [0, 2, -2]),
        (ImageInput((2, 2), "NHWC", "int8", mean=(127, 127, 127), std=(128, 128, 128),
                    quantization=Quantization(1 / 128, 0)), [-27, 73, -127]),
    ],
)
def test_normalisation_outside_the_graph_is_obeyed(wanted: ImageInput, of_100_200_0: list[float]) -> None:
    rgb = np.full((2, 2, 3), (100, 200, 0), np.uint8)
    stored = store_image(rgb, wanted)
    assert stored.dtype == wanted.dtype
    assert stored.shape == (1, 2, 2, 3)
    np.testing.assert_allclose(stored[0, 1, 1], of_100_200_0, atol=1e-6)


def test_planes_come_first_where_the_layout_says_so() -> None:
    stored = store_image(np.full((4, 2, 3), (1, 2, 3), np.uint8), ImageInput((4, 2), "NCHW", "float32"))
    assert stored.shape == (1, 3, 4, 2)
    assert stored[0, :, 3, 1].tolist() == [1, 2, 3]


def test_nv21_is_what_jpeg_calls_ycbcr() -> None:
    rgb = photo(48, 64)
    ycbcr = Image.fromarray(rgb).convert("YCbCr")
    planes = np.asarray(ycbcr)
    frame = np.concatenate([planes[..., 0].ravel(), planes[::2, ::2, [2, 1]].ravel()])
    back = rgb_from_nv21(frame, (48, 64))
    assert np.abs(back.astype(int) - np.asarray(ycbcr.convert("RGB")).astype(int)).max() <= 1


@pytest.mark.parametrize(("matrix", "luma"), [("bt601", (0.299, 0.587, 0.114)), ("bt709", (0.2126, 0.7152, 0.0722))])
@pytest.mark.parametrize("video_range", [True, False])
def test_bi_planar_frames_come_back(
    matrix: cascade.Matrix, luma: tuple[float, float, float], video_range: bool
) -> None:
    rgb = photo(32, 48)
    y, cb, cr = forward(rgb, np.array(luma), video_range)
    back = rgb_from_420v(y, np.stack([cb, cr], -1)[::2, ::2], matrix, video_range)
    assert np.abs(back.astype(int) - rgb.astype(int)).max() <= 3, "two roundings to 8 bits"


def forward(rgb: Pixels, luma: npt.NDArray[np.float64], video_range: bool) -> tuple[Pixels, Pixels, Pixels]:
    """The standard's definition, in float64: Y' = K.RGB, Cb = (B - Y') / (2 (1 - Kb)), Cr likewise."""
    y = rgb @ luma
    cb, cr = (rgb[..., 2] - y) / (2 * (1 - luma[2])), (rgb[..., 0] - y) / (2 * (1 - luma[0]))
    if video_range:
        y, cb, cr = 16 + y * 219 / 255, cb * 224 / 255, cr * 224 / 255
    rounded = (np.rint(plane).clip(0, 255).astype(np.uint8) for plane in (y, cb + 128, cr + 128))
    first, second, third = rounded
    return first, second, third


def test_odd_or_short_nv21_frames_are_refused() -> None:
    with pytest.raises(BundleError, match="an NV21 frame of 5x4 has even sides and 30 bytes, not 30"):
        rgb_from_nv21(np.zeros(30, np.uint8), (4, 5))
    with pytest.raises(BundleError, match="has even sides and 24 bytes, not 23"):
        rgb_from_nv21(np.zeros(23, np.uint8), (4, 4))


# ---- video -----------------------------------------------------------------------------------------------------------


class Scripted:
    """Two stages; the first one's confidence is read off the image's first byte, in hundredths."""

    def run(self, entry: str, inputs: tuple[cascade.Array, ...]) -> tuple[cascade.Array, ...]:
        if entry == "stage_0":
            return inputs[0], np.zeros((1, 1)), np.float32([inputs[0].ravel()[0] / 100])
        return (np.full((1, 1), int(entry[-1])),)

    def output_quantization(self, entry: str) -> list[None]:
        return [None, None, None]


def exits(segmenter: Segmenter, confidences: Sequence[int]) -> list[int]:
    return [segmenter.run(np.full((64, 64, 3), one, np.uint8)).exit for one in confidences]


@pytest.fixture
def video(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Segmenter]:
    """A segmenter of the bundle with an exit margin, on a scripted runtime; its threshold is 0.1."""

    def make(margin: float, threshold: float | None = 0.1) -> Segmenter:
        def change(content: dict[str, Any]) -> None:
            content["stages"][0]["threshold"] = threshold
            content["temporal"] = {"exit_margin": margin, "label_frames": 1}
            content["input"] = {"size": [64, 64], "layout": "NHWC", "dtype": "uint8"}

        rewrite_manifest(bundle, change)
        monkeypatch.setattr(cascade, "open_runtime", lambda *_: Scripted())
        return Segmenter(bundle.folder)

    return make


def test_an_exit_margin_ends_flicker_and_never_leaves_less_sure(video: Callable[..., Segmenter]) -> None:
    confidences = [12, 9, 11, 9, 11, 16, 11, 12, 9]
    assert exits(video(0.0), confidences) == [0, 1, 0, 1, 0, 0, 0, 0, 1]
    steady = video(0.05)
    assert exits(steady, confidences) == [0, 1, 1, 1, 1, 0, 0, 0, 1]
    assert exits(steady, [11]) == [1]
    steady.new_sequence()
    assert exits(steady, [11]) == [0]


def test_without_a_threshold_only_a_deadline_ends_before_the_last_stage(video: Callable[..., Segmenter]) -> None:
    segmenter, sure = video(0.0, None), np.full((64, 64, 3), 200, np.uint8)
    assert [segmenter.run(sure).exit, segmenter.run(sure, 0.0).exit, segmenter.run(sure, 60.0).exit] == [1, 0, 1]


def test_a_deadline_ends_a_frame_that_is_not_sure(video: Callable[..., Segmenter]) -> None:
    segmenter, unsure = video(0.0), np.full((64, 64, 3), 5, np.uint8)
    assert [segmenter.run(unsure).exit, segmenter.run(unsure, 0.0).exit] == [1, 0]


def test_a_label_is_shown_once_it_stays() -> None:
    filtered = LabelFilter(2)
    shown = [filtered(np.full((1, 1), label, np.uint8))[0, 0] for label in (3, 5, 3, 5, 5, 5, 3, 3)]
    assert shown == [3, 3, 3, 3, 5, 5, 5, 3]
    off = LabelFilter(1)
    assert [off(np.full((1, 1), label, np.uint8))[0, 0] for label in (3, 5, 3)] == [3, 5, 3]


def test_the_resolution_nearest_in_shape_runs(bundle: Bundle) -> None:
    def change(content: dict[str, object]) -> None:
        stages = json.loads(json.dumps(content["stages"]))
        content["resolutions"] = [
            {"input": {"size": size, "layout": "NHWC", "dtype": "uint8"}, "stages": stages}
            for size in ([64, 128], [128, 64])
        ]

    rewrite_manifest(bundle, change)
    segmenter = Segmenter(bundle.folder)
    chosen = [segmenter.choose(*size).input.size for size in ((640, 480), (1920, 1080), (1080, 1920), (500, 500))]
    assert chosen == [(64, 64), (64, 128), (128, 64), (64, 64)]


def test_one_loop_serves_the_project_and_the_bundle() -> None:
    runtime = Scripted()
    image = np.full((1, 2, 2, 3), 50, np.uint8)
    entries, finish = ("stage_0", "stage_1"), ("finish_0",)
    assert run_stages(runtime, entries, finish, [0.5], image).exit == 0, "a confidence equal to its limit leaves"
    assert run_stages(runtime, entries, finish, [0.51], image).labels == 1


def test_where_the_graph_resizes_labels_keep_the_networks_size(frame_bundle: Bundle) -> None:
    rewrite_manifest(frame_bundle, lambda content: content.update(temporal={"exit_margin": 0.0, "label_frames": 2}))
    segmenter = Segmenter(frame_bundle.folder)
    first, other = frame_bundle.sample_image(), np.zeros((100, 70, 3), np.uint8)
    shown = segmenter.run(first).labels
    assert shown.shape == (64, 64)
    assert np.array_equal(segmenter.run(other).labels, shown)  # of another size, and seen once: not shown yet
    assert not np.array_equal(segmenter.run(other).labels, shown)
