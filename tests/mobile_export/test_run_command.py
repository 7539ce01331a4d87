"""`python -m pipeline run BUNDLE IMAGE`: the mask, the exit, the confidences; bad input in one line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobile_export.bundle import Bundle
from pipeline.__main__ import run

ROOT = Path(__file__).parents[2]


def test_the_sample_image_gives_the_expected_mask(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    output = bundle.folder.parent / "mask.png"
    words = ["run", str(bundle.folder), str(bundle.folder / "sample.png"), "--output", str(output), "--json"]

    assert run(words) == 0

    found = json.loads(capsys.readouterr().out)
    with Image.open(output) as mask:
        assert mask.mode == "P"
        assert np.array_equal(np.asarray(mask), bundle.expected_labels())
        assert mask.getpalette()[3:6] == [255, 0, 0]
    assert (found["exit"], found["thresholds"], found["mask"]) == ("exit1", [0.1], str(output))
    assert 0.1 <= found["confidences"][0] <= 1
    assert sum(found["class_shares"].values()) == pytest.approx(1)
    assert found["host_ms"] > 0


def test_a_photo_of_another_size_keeps_its_size(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = tmp_path / "photo.jpg"
    Image.fromarray(bundle.sample_image()).resize((300, 200)).save(photo)

    assert run(["run", str(bundle.folder), str(photo)]) == 0

    with Image.open(tmp_path / "photo_mask.png") as mask:
        assert mask.size == (300, 200)
    printed = capsys.readouterr().out
    assert "exit taken: exit1 (1 of 2 stages)" in printed
    assert "on this machine (not the phone's)" in printed
    assert "expected on pixel7-npu: 1.50 ms (predicted)" in printed


@pytest.mark.parametrize(
    ("bundle_name", "image_name", "code", "text"),
    [
        ("absent", "photo.png", 2, "no bundle in"),
        ("deployment", "absent.png", 2, "no image at"),
        ("deployment", "text.png", 2, "is no image that can be read"),
        ("deployment", "cut.png", 2, "is no image that can be read"),
        ("tampered", "photo.png", 5, "labels.txt was changed"),
    ],
)
def test_bad_input_is_one_line(
    bundle: Bundle, bundle_name: str, image_name: str, code: int, text: str, tmp_path: Path
) -> None:
    sample = (bundle.folder / "sample.png").read_bytes()
    (tmp_path / "photo.png").write_bytes(sample)
    (tmp_path / "cut.png").write_bytes(sample[:100])
    (tmp_path / "text.png").write_text("no image")
    if bundle_name == "tampered":
        (bundle.folder / "labels.txt").write_text("other")
        bundle_name = "deployment"

    words = [sys.executable, "-m", "pipeline", "run", str(tmp_path / bundle_name), str(tmp_path / image_name)]
    found = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)

    assert (found.returncode, found.stdout) == (code, "")
    assert found.stderr.startswith("error: ")
    assert text in found.stderr
    assert found.stderr.count("\n") == 1


def test_a_litert_bundle_runs_without_torch(bundle: Bundle) -> None:
    script = (
        "import sys; from pipeline.__main__ import run\n"
        "if __name__ == '__main__':\n"
        f"    run(['run', {str(bundle.folder)!r}, {str(bundle.folder / 'sample.png')!r}])\n"
        "    assert 'torch' not in sys.modules\n"
    )
    file = bundle.folder.parent / "script.py"
    file.write_text(script)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, str(file)], env=environment, check=True, capture_output=True)
