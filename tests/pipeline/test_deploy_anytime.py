"""An anytime deployment, end to end: every deadline has its answer, and the bundle gives it."""

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from PIL import Image

from tests.deployments import ROOT, pipeline

DEEPER_IS_BETTER = """
base = "smoke"
[training.exit_dropout]
steps = 150
[training.distillation]
steps = 8
[training.method]
scheme = "last-exit"
"""
"""Early heads learn for eight steps, the last one for all of stage 1."""


@pytest.mark.slow  # by day tests/pipeline/test_wholes.py and the tests of the reference code
@pytest.mark.timeout(1800)
def test_every_deadline_has_its_answer_and_the_bundle_gives_it(environment: dict[str, str], tmp_path: Path) -> None:
    preset = tmp_path / "preset.toml"
    preset.write_text(DEEPER_IS_BETTER)
    words = ("deploy", "--preset", str(preset), "--target", "pixel7-cpu", "--run", str(tmp_path / "run"), "--json",
             "--setting", "anytime", "--deadline", "2ms", "--deadline", "4ms")
    result = json.loads(pipeline(environment, *words).stdout)
    bundle = tmp_path / "run" / "deployment"
    manifest = json.loads((bundle / "manifest.json").read_text())
    jsonschema.validate(manifest, json.loads((ROOT / "docs" / "manifest.schema.json").read_text()))

    assert result["setting"] == "anytime" and len(result["stages"]) > 1
    assert [stage["threshold"] for stage in result["stages"]] == [None] * len(result["stages"])
    early, late = result["readouts"]
    assert (early["deadline_ns"], late["deadline_ns"]) == (2e6, 4e6)
    assert early["exit"] == result["stages"][0]["exit"] and late["exit"] == result["stages"][-1]["exit"]
    times = [figure["value_ns"] for figure in result["latency"]["by_exit"]]
    assert (early["latency_ns"], late["latency_ns"]) == (times[0], times[-1])
    assert all(one["latency_ns"] <= one["deadline_ns"] for one in (early, late))
    assert late["miou"] > early["miou"]

    assert len(pipeline(environment, "run", str(bundle), "--self-check").stdout.splitlines()) == len(times) + 1
    mask = tmp_path / "mask.png"
    for deadline, exit_taken in (("1ns", 0), ("60s", len(times) - 1)):
        words = ("run", str(bundle), str(bundle / "sample.png"), "--output", str(mask), "--deadline", deadline)
        ran = json.loads(pipeline(environment, *words, "--json").stdout)
        assert ran["stage"] == exit_taken
        expected = Image.open(bundle / "self_check" / f"exit_{exit_taken}.pgm")
        assert np.array_equal(np.asarray(Image.open(mask)), np.asarray(expected))
