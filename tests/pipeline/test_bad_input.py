"""What goes wrong on a user's side is one clear line, an exit code, and no traceback."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
DEPLOY = ("deploy", "--target", "pixel7-cpu", "--preset", "smoke")


def refused(code: int, *words: str) -> str:
    """The one line that a refused command prints."""
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", *words], cwd=ROOT, capture_output=True, text=True, timeout=180
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert len(lines) == 1 and done.stderr.strip().splitlines()[-1] == lines[0]
    assert done.stdout == ""
    return lines[0]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--max-latency", "30ms", "--max-drop", "1pp"), "two objectives at once"),
        (("--max-latency", "0"), "'0' must be more than 0: write a duration as 30ms"),
        (("--max-latency", "0ms"), "'0ms' must be more than 0"),
        (("--max-latency", "30"), "'30' has no unit"),
        (("--max-drop", "1"), "write percentage points of mIoU, as in 1pp"),
        (("--size", "100x100"), "--size 100x100 must be multiples of 32, for example 96x96"),
        (("--size", "big"), "write WIDTHxHEIGHT"),
        (("--preset", "huge"), "choose one of smoke, quick, full"),
        (("--data", "nowhere", "--device", "emulated"), "unknown data source 'nowhere'"),
    ],
)
def test_arguments(words: tuple[str, ...], text: str) -> None:
    line = refused(2, *DEPLOY[:3], *words) if "--preset" in words else refused(2, *DEPLOY, *words)
    assert text in line


def test_an_unknown_target_lists_the_known_and_suggests_the_nearest() -> None:
    line = refused(2, "deploy", "--target", "pixel7-tpu")
    assert "did you mean 'pixel7-npu'" in line and "galaxy-s23" in line and "PHONE-UNIT" in line


def test_a_phone_that_is_not_there() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    assert f"127.0.0.1:{port}" in refused(4, *DEPLOY, "--device", f"127.0.0.1:{port}")
    assert "NOSUCHPHONE" in refused(4, *DEPLOY, "--device", "NOSUCHPHONE")


def test_a_missing_phone_where_one_is_required() -> None:
    assert "--require-device" in refused(4, *DEPLOY, "--require-device")


@pytest.fixture
def web_server() -> Iterator[int]:
    """A port that answers, but is no adbd."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            connection.close()

    threading.Thread(target=serve, daemon=True).start()
    yield server.getsockname()[1]
    server.close()


def test_a_port_that_is_no_adbd(web_server: int) -> None:
    assert f"127.0.0.1:{web_server}" in refused(4, *DEPLOY, "--device", f"127.0.0.1:{web_server}")


def folder_with(tmp_path: Path, mask_value: int) -> Path:
    """A folder source of small images; one mask holds `mask_value`."""
    (tmp_path / "classes.toml").write_text('names = ["a", "b"]\ncolors = [[0, 0, 0], [255, 0, 0]]\nignore = 255\n')
    for split in ("train", "val"):
        for kind in (split, f"{split}annot"):
            (tmp_path / kind).mkdir()
        for index in range(12):
            Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / split / f"im_{index:03d}.png")
            mask = np.zeros((64, 64), np.uint8)
            mask[0, 0] = mask_value if index == 3 and split == "train" else 1
            Image.fromarray(mask).save(tmp_path / f"{split}annot" / f"im_{index:03d}.png")
    return tmp_path


def test_a_mask_with_an_unknown_class_is_named(tmp_path: Path) -> None:
    line = refused(2, "train", "--preset", "smoke", "--data", f"folder:{folder_with(tmp_path, 7)}")
    assert "im_003" in line and "7" in line


def test_an_empty_folder(tmp_path: Path) -> None:
    assert str(tmp_path) in refused(2, "train", "--preset", "smoke", "--data", f"folder:{tmp_path}")


def test_an_unreadable_training_image_is_named(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, 1)
    (folder / "train" / "im_005.png").write_bytes(b"no image")
    assert "im_005" in refused(2, "train", "--preset", "smoke", "--data", f"folder:{folder}")


def test_no_checkpoint(tmp_path: Path) -> None:
    assert str(tmp_path) in refused(2, "evaluate", "--preset", "smoke", "--checkpoint", str(tmp_path))
    assert "--checkpoint is needed" in refused(2, "evaluate")


def test_no_bundle(tmp_path: Path) -> None:
    assert "no bundle in" in refused(2, "run", str(tmp_path), str(tmp_path / "x.png"))
