"""`python -m pipeline run BUNDLE IMAGE`: the mask, the exit, the confidences; bad input in one line."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_bundle import rewrite_manifest

from device_profiler.errors import InputError, VerificationError
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


@pytest.mark.parametrize(("deadline", "stage"), [([], 1), (["--deadline", "1ns"], 0), (["--deadline", "60s"], 1)])
def test_an_anytime_bundle_answers_by_the_deadline(
    bundle: Bundle, deadline: list[str], stage: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite_manifest(bundle, lambda content: content["stages"][0].update(threshold=None))
    mask = tmp_path / "mask.png"
    words = ["run", str(bundle.folder), str(bundle.folder / "sample.png"), "--output", str(mask), *deadline]

    assert run([*words, "--json"]) == 0

    found = json.loads(capsys.readouterr().out)
    assert (found["stage"], found["thresholds"], found["deadline_ms"] is None) == (stage, [None], not deadline)
    expected = Image.open(bundle.folder / "self_check" / f"exit_{stage}.pgm")
    assert np.array_equal(np.asarray(Image.open(mask)), np.asarray(expected))
    assert run(words) == 0
    assert "no threshold" in capsys.readouterr().out


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
        ("deployment", "deep.png", 2, "more than 8 bits a channel"),
        ("newer", "photo.png", 2, "has schema 99, this version reads up to 2"),
        ("incomplete", "photo.png", 5, "self_check/exit_0.pgm is missing"),
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
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(tmp_path / "deep.png")
    if bundle_name == "tampered":
        (bundle.folder / "labels.txt").write_text("other")
    elif bundle_name == "incomplete":
        (bundle.folder / "self_check" / "exit_0.pgm").unlink()
    elif bundle_name == "newer":
        rewrite_manifest(bundle, lambda content: content.update(schema=99))
    bundle_name = "absent" if bundle_name == "absent" else "deployment"

    words = [sys.executable, "-m", "pipeline", "run", str(tmp_path / bundle_name), str(tmp_path / image_name)]
    found = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)

    assert (found.returncode, found.stdout) == (code, "")
    assert found.stderr.startswith("error: ")
    assert text in found.stderr
    assert found.stderr.count("\n") == 1


def test_a_mask_that_can_not_be_written_is_named(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "mask.png").mkdir()
    words = ["run", str(bundle.folder), str(bundle.folder / "sample.png"), "--output", str(tmp_path / "mask.png")]
    with pytest.raises(InputError, match=r"can't write the mask to .*mask\.png \(.*\); choose another by --output"):
        run(words)


def test_the_self_check_passes_here(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["run", str(bundle.folder), "--self-check", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["on"], found["passed"]) == ("this machine", True)
    assert [line.split(":")[0] for line in found["lines"]] == ["exit 0", "exit 1"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"exit": 1}, "self-check failed: the sample leaves at exit 0, not 1"),
        ({"confidences": [0.9]}, "confidences differ by"),
    ],
)
def test_another_answer_than_validated_fails_the_self_check(
    bundle: Bundle, change: dict[str, object], text: str
) -> None:
    def tell_otherwise(content: dict[str, Any]) -> None:
        check = content["self_check"]
        (check if "exit" in change else check["answers"][0]).update(change)

    rewrite_manifest(bundle, tell_otherwise)
    with pytest.raises(VerificationError, match=text):
        run(["run", str(bundle.folder), "--self-check"])


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "give an IMAGE, or --self-check without one"),
        (["photo.png", "--self-check"], "give an IMAGE, or --self-check without one"),
        (["photo.png", "--device", "emulated"], "--device goes with --self-check"),
    ],
)
def test_what_does_not_go_together_is_said(words: list[str], text: str) -> None:
    with pytest.raises(InputError, match=text):
        run(["run", "deployment", *words])


def test_a_bundle_of_schema_1_has_no_self_check(bundle: Bundle) -> None:
    def older(content: dict[str, object]) -> None:
        for name in ("self_check", "temporal", "resolutions"):
            del content[name]
        content["schema"] = 1

    rewrite_manifest(bundle, older)
    assert run(["run", str(bundle.folder), str(bundle.folder / "sample.png")]) == 0
    with pytest.raises(InputError, match="is of schema 1 and has no self-check: deploy again"):
        run(["run", str(bundle.folder), "--self-check"])


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
