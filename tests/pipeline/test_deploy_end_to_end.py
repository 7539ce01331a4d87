"""The main job with the smoke preset: from data to a verified bundle, on the emulated phone, by the command line."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from PIL import Image

from tests.deployments import ROOT, Ran, deployed, pipeline


def accuracy(ran: Ran, what: str, split: str) -> float:
    (row,) = [row for row in ran.result["accuracy"] if row["what"] == what and row["split"] == split]
    return float(row["miou"])


@pytest.mark.main_job
@pytest.mark.timeout(900)
def test_the_npu_deployment_is_int8_throughout_and_its_latency_is_called_predicted(npu: Ran) -> None:
    assert npu.result["artifact"]["precision"] == "int8"
    assert npu.result["latency"]["expected"]["provenance"] == "predicted"
    assert npu.result["latency"]["device"]["emulated"] is True
    assert {op["delegated"] for entry in npu.result["artifact"]["entries"] for op in entry["operators"]} == {True}
    assert any("predicted" in warning for warning in npu.result["warnings"])


@pytest.mark.timeout(900)
def test_the_cpu_deployment_is_faster_than_the_full_network_and_as_accurate(cpu: Ran) -> None:
    latency = cpu.result["latency"]
    assert latency["expected"]["provenance"] == "emulated"
    assert latency["expected"]["value_ns"] < latency["reference"]["value_ns"]
    assert all(figure["samples_ns"] for figure in latency["by_exit"])
    assert accuracy(cpu, "deployment", "search") >= accuracy(cpu, "reference", "search") - 0.01 - 1e-9
    assert any("emulated" in warning for warning in cpu.result["warnings"])


def test_what_the_delegate_took_was_told_by_the_phone(cpu: Ran, npu: Ran) -> None:
    rows = json.loads((cpu.run / "report.json").read_text())["parity"]
    watched = {row["entry"] for row in rows if row["figure"] == "undeclared kernels beside the delegate"}
    assert watched == {f"{entry['name']}.delegate" for entry in cpu.result["artifact"]["entries"]}
    assert "undeclared kernels" not in (npu.run / "report.json").read_text(), "LiteRT tells no such events"


@pytest.mark.parametrize("which", ["cpu", "npu"])
def test_the_shipped_file_was_run_and_agrees(which: str, request: pytest.FixtureRequest) -> None:
    ran: Ran = request.getfixturevalue(which)
    shipped = accuracy(ran, "shipped file, run on every image", "test")
    assert abs(shipped - accuracy(ran, "deployment", "test")) <= 0.01
    assert ran.result["artifact"]["parity"]["passed"] is True
    assert min(row["samples"] for row in ran.result["artifact"]["parity"]["outputs"]) >= 32


@pytest.mark.parametrize("which", ["cpu", "npu"])
def test_the_run_folder_is_complete_and_follows_the_schema(which: str, request: pytest.FixtureRequest) -> None:
    ran: Ran = request.getfixturevalue(which)
    wanted = ("config.toml", "checkpoint/model.safetensors", "checkpoint/model.json", "statistics.npz", "latency.json",
              "front.json", "report.html", "report.json", "deployment/manifest.json", "deployment/sample.png")
    assert [name for name in wanted if not (ran.run / name).is_file()] == []
    manifest = json.loads((ran.run / "deployment" / "manifest.json").read_text())
    jsonschema.validate(manifest, json.loads((ROOT / "docs" / "manifest.schema.json").read_text()))
    assert manifest["files"] == ran.result["files"]


def test_a_second_run_reuses_everything_and_says_so(cpu: Ran, environment: dict[str, str]) -> None:
    again = deployed(environment, cpu.run, "pixel7-cpu", "--setting", "adaptive", "--max-drop", "1pp")
    wanted = {"training", "evaluation", "profiling", "export", "whole latency", "phone check", "delegate on the phone"}
    assert wanted <= {row["stage"] for row in again.result["reused"]}
    assert again.result["stages"] == cpu.result["stages"]
    assert again.result["latency"]["by_exit"] == cpu.result["latency"]["by_exit"]


def test_a_certified_deployment_carries_its_certificate(cpu: Ran, environment: dict[str, str], tmp_path: Path) -> None:
    promised = ("--max-drop", "1pp", "--risk", "0.2", "--delta", "0.1")
    ran = deployed(environment, tmp_path, "pixel7-cpu", *promised)
    certificate = ran.result["certificate"]
    assert (certificate["method"], certificate["epsilon"], certificate["delta"]) == ("ltt", 0.2, 0.1)
    assert certificate["risk"] <= 0.2 and certificate["p_value"] <= 0.1
    assert certificate["images"] == 48
    shipped = [stage["threshold"] for stage in ran.result["stages"] if stage["threshold"] is not None]
    assert shipped == certificate["thresholds"]


def test_a_promise_beyond_the_images_fails_before_anything_is_trained(
    environment: dict[str, str], tmp_path: Path
) -> None:
    words = ("deploy", "--preset", "smoke", "--target", "pixel7-cpu", "--run", str(tmp_path), "--risk", "0.01")
    done = pipeline(environment, *words, "--backbone", "efficientnet_lite0", code=5)
    last = done.stderr.strip().splitlines()[-1]
    assert "the certify split has 48 images, risk 0.01 at delta 0.05 needs 299" in last
    assert not (tmp_path / "checkpoint").exists()


def test_the_configuration_file_repeats_the_run(cpu: Ran, environment: dict[str, str], tmp_path: Path) -> None:
    done = pipeline(
        environment, "deploy", "--config", str(cpu.run / "config.toml"), "--run", str(tmp_path / "again"), "--json"
    )
    assert json.loads(done.stdout)["stages"] == cpu.result["stages"]


@pytest.mark.parametrize("which", ["cpu", "npu"])
def test_run_gives_the_expected_mask(
    which: str, request: pytest.FixtureRequest, environment: dict[str, str], tmp_path: Path
) -> None:
    ran: Ran = request.getfixturevalue(which)
    bundle, mask = ran.run / "deployment", tmp_path / "mask.png"
    done = pipeline(environment, "run", str(bundle), str(bundle / "sample.png"), "--output", str(mask), "--json")
    told = json.loads(done.stdout)
    assert told["exit"] in {stage["exit"] for stage in ran.result["stages"]}
    assert Image.open(mask).tobytes() == Image.open(bundle / "expected.png").tobytes()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_one_checkpoint_deploys_at_another_size(cpu: Ran, environment: dict[str, str], tmp_path: Path) -> None:
    words = ("--setting", "adaptive", "--max-drop", "1pp", "--checkpoint", str(cpu.run / "checkpoint"))
    ran = deployed(environment, tmp_path / "wide", "pixel7-cpu", *words, "--size", "96x64")
    report = json.loads((ran.run / "report.json").read_text())
    assert not any(row["stage"].startswith("training") for row in report["stages"])
    assert ran.result["input"]["size"] == [64, 96] and ran.result["artifact"]["parity"]["passed"] is True
    assert ran.result["latency"]["reference"]["value_ns"] > 1.2 * cpu.result["latency"]["reference"]["value_ns"]
    assert accuracy(ran, "shipped file, run on every image", "test") == pytest.approx(
        accuracy(ran, "deployment", "test"), abs=0.01
    )
    pipeline(environment, "run", str(ran.run / "deployment"), "--self-check")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_best_of_several_input_sizes_is_deployed(cpu: Ran, environment: dict[str, str], tmp_path: Path) -> None:
    words = ("--checkpoint", str(cpu.run / "checkpoint"), "--max-drop", "20pp", "--sizes", "96x64,64x64")
    ran = deployed(environment, tmp_path / "sizes", "pixel7-cpu", *words, "--setting", "budgeted")
    offers = json.loads((ran.run / "report.json").read_text())["sizes"]
    own = json.loads((cpu.run / "report.json").read_text())["input_size"]
    assert [offer["size"] for offer in offers] == [own, [64, 96]]
    assert ran.result["labels_at"] == [max(own[0], 64), max(own[1], 96)] and cpu.result["labels_at"] is None
    best = [offer["best"]["search"] for offer in offers]
    floor = offers[0]["full_miou"] - 0.2
    assert all(score["miou"] >= floor - 1e-9 for score in best)
    chosen = min(range(2), key=lambda n: best[n]["latency_ns"])
    assert [offer["chosen"] for offer in offers] == [n == chosen for n in range(2)]
    assert ran.result["input"]["size"] == offers[chosen]["size"] and ran.result["artifact"]["parity"]["passed"] is True
    pipeline(environment, "run", str(ran.run / "deployment"), "--self-check")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_deployment_of_frames_resizes_them_in_the_graph(
    cpu: Ran, environment: dict[str, str], tmp_path: Path
) -> None:
    words = ("--setting", "adaptive", "--max-drop", "1pp", "--frame", "128x192")
    ran = deployed(environment, tmp_path / "frames", "pixel7-cpu", *words)
    bundle, taken = ran.run / "deployment", ran.result["input"]
    assert {row["stage"] for row in ran.result["reused"]} >= {"training", "profiling"}
    assert (taken["size"], taken["labels_size"], taken["dtype"]) == ([192, 128], [64, 64], "uint8")
    assert {Image.open(bundle / name).size for name in ("sample.png", "self_check/sample.ppm")} == {(128, 192)}
    assert Image.open(bundle / "expected.png").size == (64, 64)
    first = ran.result["artifact"]["entries"][0]["operators"]
    assert next(op["kind"] for op in first if not op["delegated"]) == "to_dim_order_copy"
    assert any(op["kind"] == "depthwise_convolution" and op["delegated"] for op in first[:4])
    assert accuracy(ran, "shipped file, run on every image", "test") == pytest.approx(
        accuracy(ran, "deployment", "test"), abs=0.002
    )
    pipeline(environment, "run", str(bundle), str(bundle / "sample.png"), "--output", str(tmp_path / "mask.png"))
    with Image.open(tmp_path / "mask.png") as mask, Image.open(bundle / "expected.png") as expected:
        assert mask.resize((64, 64), Image.Resampling.NEAREST).tobytes() == expected.tobytes()
    pipeline(environment, "run", str(bundle), "--self-check")
    assert "resized in the graph from frames of 128 × 192" in (ran.run / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_drop_that_int8_is_refused_for_is_enough_when_granted(
    npu: Ran, environment: dict[str, str], tmp_path: Path
) -> None:
    words = ("deploy", "--preset", "smoke", "--target", "pixel7-npu", "--checkpoint", str(npu.run / "checkpoint"))
    refused = pipeline(environment, *words, "--run", str(tmp_path), "--max-int8-drop", "0pp", code=3)
    named = re.search(r"raise --max-int8-drop to (\S+pp)", refused.stderr)
    assert named and not (tmp_path / "deployment").exists()
    pipeline(environment, *words, "--run", str(tmp_path), "--max-int8-drop", named[1])
    mixed = json.loads((tmp_path / "deployment" / "manifest.json").read_text())["mixed_precision"]
    assert mixed["kept"] and mixed["drop"] <= mixed["allowed_drop"] < mixed["drop_in_int8"]
    pipeline(environment, "run", str(tmp_path / "deployment"), "--self-check")


@pytest.mark.slow
def test_a_frame_is_held_against_the_networks_size_before_anything_is_trained(
    environment: dict[str, str], tmp_path: Path
) -> None:
    words = ("deploy", "--preset", "smoke", "--target", "pixel7-cpu", "--run", str(tmp_path), "--frame", "100x64")
    done = pipeline(environment, *words, "--backbone", "efficientnet_lite0", code=2)
    assert "--frame 100x64 can't be resized to the network's 64x64" in done.stderr.strip().splitlines()[-1]
    assert not (tmp_path / "checkpoint").exists()


def test_the_two_files_are_enough_for_the_search(cpu: Ran, environment: dict[str, str]) -> None:
    done = pipeline(
        environment, "search", "--statistics", str(cpu.run / "statistics.npz"),
        "--latency", str(cpu.run / "latency.json"), "--setting", "adaptive", "--max-drop", "1pp", "--json",
    )
    found = json.loads(done.stdout)
    assert found["optimal"] is True
    assert found["miou"] >= accuracy(cpu, "reference", "search") - 0.01 - 1e-9


def test_a_bound_that_nothing_meets_names_the_nearest_point(
    cpu: Ran, environment: dict[str, str], tmp_path: Path
) -> None:
    done = pipeline(
        environment, "deploy", "--preset", "smoke", "--target", "pixel7-cpu", "--run", str(tmp_path / "none"),
        "--max-latency", "1us", code=3,
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ") and "mIoU" in last
    assert not (tmp_path / "none" / "deployment").exists()


def test_the_other_verbs_work_on_the_checkpoint(cpu: Ran, environment: dict[str, str], tmp_path: Path) -> None:
    checkpoint = str(cpu.run / "checkpoint")
    common = ("--preset", "smoke", "--checkpoint", checkpoint, "--run", str(tmp_path), "--json")
    told = json.loads(pipeline(environment, "evaluate", *common, "--split", "test").stdout)
    assert told["majority_guess_miou"] < max(row["miou"] for row in told["exits"])
    assert all(row["macs"] > 0 for row in told["exits"])
    exported = json.loads(pipeline(
        environment, "export", *common, "--target", "pixel7-cpu", "--exits", "1,2", "--heads", "lraspp-r1,lraspp-r1",
        "--thresholds", "0.6", "--policy", "agreement",
    ).stdout)
    assert exported["artifact"]["parity"]["passed"] is True
    stages = {entry["name"]: entry for entry in exported["artifact"]["entries"]}
    assert "argmax" in stages["stage_0"]["host_side"], "of the stage's labels and its witness'"
    assert (tmp_path / "export" / "model.pte").is_file()


def test_a_checkpoint_of_another_model_is_refused(cpu: Ran, environment: dict[str, str]) -> None:
    done = pipeline(
        environment, "evaluate", "--preset", "smoke", "--checkpoint", str(cpu.run / "checkpoint"),
        "--backbone", "mobilenet_v2", code=2,
    )
    last = done.stderr.strip().splitlines()[-1]
    assert "is a checkpoint of another model: its backbone is efficientnet_lite0" in last


@pytest.mark.slow  # by day tests/pipeline/test_training.py kills and interrupts trainings
def test_an_interrupted_training_goes_on(environment: dict[str, str], tmp_path: Path) -> None:
    import signal
    import time

    words = [sys.executable, "-m", "pipeline", "train", "--preset", "smoke", "--size", "32x32", "--run", str(tmp_path)]
    checkpoints = Path(environment["XDG_CACHE_HOME"]) / "mess-deploy" / "checkpoints"
    before = set(checkpoints.glob("*/stage1.safetensors"))
    process = subprocess.Popen(words, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 240
    while not set(checkpoints.glob("*/stage1.safetensors")) - before:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130
    assert stderr.strip().splitlines()[-1].startswith("interrupted: finished work is kept")
    assert subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, timeout=600).returncode == 0
    assert (tmp_path / "checkpoint" / "model.safetensors").is_file()
    shutil.rmtree(tmp_path / "checkpoint")
