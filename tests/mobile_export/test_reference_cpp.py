"""The C++ reference of a bundle, compiled from the bundle's own sources: on this machine, and on the phone over ADB."""

import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image
from test_bundle import rewrite_manifest

from device_profiler import debian
from device_profiler.emulator.phone import start_phone, stop_phone
from device_profiler.errors import DeviceError, InputError, VerificationError
from device_profiler.runner.build import build_program
from device_profiler.runner.client import DEVICE_FOLDER
from device_profiler.targets import Runtime
from device_profiler.toolchain import host_compiler
from device_profiler.transport import Transport, connect
from mobile_export.bundle import Bundle
from mobile_export.glue.python.cascade import rgb_from_420v, rgb_from_nv21
from mobile_export.reference_check import PROGRAM, check_reference_on_phone

HERE = Path(__file__).parent
CPP = HERE.parents[1] / "mobile_export" / "glue" / "cpp"
INT8 = pytest.param("pte_int8_bundle", marks=pytest.mark.slow)
WHICH = pytest.mark.parametrize("which", ["bundle", "pte_bundle", "frame_bundle", INT8])


@pytest.fixture(scope="session")
def phone() -> Iterator[Transport]:
    """An emulated Pixel 7 of this file's own."""
    if not debian.available():
        pytest.skip("emulated phones are built from Debian packages, which can't be fetched here")
    started = start_phone("pixel7", keep=False)
    with connect(started.address) as transport:
        yield transport
    stop_phone(started.address)


def built(bundle: Bundle, place: Path) -> str:
    """Command of the reference, built here from the bundle's own files."""
    runtime: Runtime = "litert" if bundle.manifest.artifact.runtime == "litert" else "executorch"
    program = build_program(PROGRAM, sorted((bundle.folder / "glue" / "cpp").glob("*.cpp")), runtime, "host")
    with tarfile.open(program.archive) as archive:
        archive.extractall(place, filter="data")
    return program.command(str(place))


@WHICH
def test_the_reference_built_here_gives_the_validated_answers(
    which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    bundle: Bundle = request.getfixturevalue(which)
    command, labels = built(bundle, tmp_path / "program"), tmp_path / "labels.pgm"

    words = [command, str(bundle.folder), str(bundle.folder / "self_check" / "sample.ppm"), str(labels)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert lines[0] == "the sample leaves at exit1, as expected"
    assert [line.split(" of")[0] for line in lines[1:3]] == ["exit1: 1.0000", "exit3: 1.0000"]
    assert lines[3].startswith("exit 0 confidences 0.")
    assert np.array_equal(np.asarray(Image.open(labels)), bundle.expected_labels())


def test_without_a_threshold_only_a_deadline_ends_before_the_last_stage(bundle: Bundle, tmp_path: Path) -> None:
    command, labels = built(bundle, tmp_path / "program"), tmp_path / "labels.pgm"

    def anytime(content: dict[str, Any]) -> None:
        content["stages"][0]["threshold"] = None
        content["self_check"]["exit"] = 1

    rewrite_manifest(bundle, anytime)
    words = [command, str(bundle.folder), str(bundle.folder / "self_check" / "sample.ppm"), str(labels)]
    for deadline, exit_taken in (((), 1), (("0",), 0), (("60000",), 1)):
        done = subprocess.run([*words, *deadline], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout.splitlines()[-1].startswith(f"exit {exit_taken} confidences 0.")
        expected = Image.open(bundle.folder / "self_check" / f"exit_{exit_taken}.pgm")
        assert np.array_equal(np.asarray(Image.open(labels)), np.asarray(expected))
    done = subprocess.run([*words, "soon"], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        2, "error: MILLISECONDS is a whole number such as 20, not 'soon'")  # fmt: skip


@WHICH
def test_the_phone_gives_what_this_machine_validated(
    which: str, request: pytest.FixtureRequest, phone: Transport
) -> None:
    bundle: Bundle = request.getfixturevalue(which)
    lines = check_reference_on_phone(bundle, phone)
    assert lines[0] == "the sample leaves at exit1, as expected"
    assert [line.split(":")[0] for line in lines[1:]] == ["exit1", "exit3"]
    assert phone.shell(f"ls {DEVICE_FOLDER}/runs").output.strip() == ""


def test_a_phone_that_differs_fails_the_check(bundle: Bundle, phone: Transport) -> None:
    rewrite_manifest(bundle, lambda content: content["self_check"].update(confidence_tolerance=-1.0))
    with pytest.raises(VerificationError, match=r"self-check failed at exit1: .* of the labels agree"):
        check_reference_on_phone(bundle, phone)


def test_what_stops_the_reference_on_the_phone_is_told(bundle: Bundle, phone: Transport) -> None:
    sources = bundle.folder / "glue" / "cpp"
    for file in sources.iterdir():
        file.unlink()
    script = 'int main() { std::fputs("error: no room\\n", stderr); return 3; }'
    (sources / "main.cpp").write_text(f"#include <cstdio>\n{script}\n")
    with pytest.raises(DeviceError, match=r"the C\+\+ reference ended with code 3: error: no room"):
        check_reference_on_phone(bundle, phone)


def test_a_bundle_without_cpp_is_refused(bundle: Bundle, phone: Transport) -> None:
    for file in (bundle.folder / "glue" / "cpp").iterdir():
        file.unlink()
    with pytest.raises(InputError, match=r"carries no C\+\+ reference"):
        check_reference_on_phone(bundle, phone)


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        ({"schema": 99}, 2, "manifest.json has schema 99, this code reads up to 2: use the bundle's own glue"),
        ({"stages": []}, 2, "manifest.json has no stages"),
        ({"stages": "none"}, 2, "manifest.json is no manifest of a deployment: a value is of the wrong kind"),
        ({"artifact": {"path": "absent.tflite"}}, 2, "absent.tflite can't be read"),
    ],
)
def test_a_manifest_that_does_not_fit_is_one_line(
    bundle: Bundle, change: dict[str, object], code: int, text: str, tmp_path: Path
) -> None:
    command = built(bundle, tmp_path / "program")
    rewrite_manifest(bundle, lambda content: content.update(change))
    done = subprocess.run([command, str(bundle.folder)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (code, "")
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ") and text in line]


# ---- the parts by themselves: the camera's conversions, the JSON reader, the label filter


@pytest.fixture(scope="session")
def probe() -> Path:
    """cpp_probe.cpp with the reference's camera and JSON code, built for this machine."""
    sources = [HERE / "cpp_probe.cpp", CPP / "camera.cpp"]
    runner = HERE.parents[1] / "device_profiler" / "runner" / "source"
    flags = ("-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror")
    return host_compiler().compile([*sources, runner / "tensor.cpp"], "cpp_probe", flags=flags, include=[CPP, runner])


def photo(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(64, 48), (200, 150), (31, 90), (640, 10)])
def test_resizing_is_pillows(probe: Path, size: tuple[int, int], tmp_path: Path) -> None:
    image = Image.fromarray(photo(120, 160))
    image.save(tmp_path / "in.ppm")
    subprocess.run([probe, "resize", tmp_path / "in.ppm", *map(str, size), tmp_path / "out.raw"], check=True)
    found = np.fromfile(tmp_path / "out.raw", np.uint8).reshape(size[1], size[0], 3)
    expected = np.asarray(image.resize(size, Image.Resampling.BILINEAR))
    columns_first = size == (640, 10)
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= columns_first


def test_camera_frames_convert_as_in_python(probe: Path, tmp_path: Path) -> None:
    frame = np.random.default_rng(6).integers(0, 256, 48 * 64 * 3 // 2, dtype=np.uint8)
    frame.tofile(tmp_path / "frame.raw")
    for kind in ("nv21", "420v"):
        subprocess.run([probe, kind, tmp_path / "frame.raw", "64", "48", tmp_path / f"{kind}.raw"], check=True)
    y, pairs = frame[: 48 * 64].reshape(48, 64), frame[48 * 64 :].reshape(24, 32, 2)
    for kind, expected in (("nv21", rgb_from_nv21(frame, (48, 64))), ("420v", rgb_from_420v(y, pairs))):
        found = np.fromfile(tmp_path / f"{kind}.raw", np.uint8).reshape(48, 64, 3)
        assert np.abs(found.astype(int) - expected.astype(int)).max() <= 1


VALUES = {
    "a": [1, -2.5e-3, 0.7450127601623535, True, False, None],
    "text": 'é€ "\\/\n\t',
    "": {},
    "deep": [[[]], {"x": [0]}],
}


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_the_json_reader_reads_what_json_writes(
    probe: Path, indent: int | None, ascii_only: bool, tmp_path: Path
) -> None:
    (tmp_path / "in.json").write_text(json.dumps(VALUES, indent=indent, ensure_ascii=ascii_only))
    done = subprocess.run([probe, "json", tmp_path / "in.json"], capture_output=True, check=True)
    assert msgspec.json.decode(done.stdout) == VALUES


NO_JSON = (
    "", "{", '{"a"}', '{"a": 1,}', "[1 2]", '"open', "nul", "1.2.3", '{"a": 1} x', '"\\q"', '"\\u12', '"\\udc00"',
)


@pytest.mark.parametrize("text", NO_JSON)
def test_what_is_no_json_is_refused(probe: Path, text: str, tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text(text)
    done = subprocess.run([probe, "json", tmp_path / "in.json"], capture_output=True, text=True)
    assert done.returncode == 3
    assert "manifest.json is no JSON" in done.stdout


def test_a_label_is_shown_once_it_stays_as_in_python(probe: Path) -> None:
    words = [probe, "labels", "2", *"35355533"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.stdout.split() == ["3", "3", "3", "3", "5", "5", "5", "3"]
