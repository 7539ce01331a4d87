"""`deploy --fleet` by the command line, on real emulated phones of two models, with a network of seconds' training."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mobile_export.bundle import read_bundle
from pipeline.run_report import read_report
from tests.farm.site import NETWORK, PATHS, PRESET

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]
TARGETS = ("pixel7-cpu", "pixel7-npu", "galaxy-s23-cpu")


@dataclass(frozen=True)
class Fleet:
    """A fleet as the command line gave it."""

    run: Path
    code: int
    result: dict[str, Any]
    stderr: str

    def bundle(self, target: str) -> dict[str, Any]:
        found = (bundle for soc in self.result["socs"] for bundle in soc["bundles"] if bundle["target"] == target)
        return dict(next(found))

    def reused(self, target: str) -> set[str]:
        return {row["stage"] for row in self.result["reused"][target]}


def deploy_fleet(environment: dict[str, str], here: Path, *words: str) -> Fleet:
    (here / "tiny.toml").write_text(PRESET)
    own = {**environment, "PYTHONPATH": ":".join(map(str, PATHS)), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pipeline", "deploy", "--fleet", *NETWORK, "--json", *words]
    done = subprocess.run(command, cwd=here, env=own, capture_output=True, text=True, timeout=1500)
    assert done.stdout, done.stderr[-3000:]
    return Fleet(here / "runs" / "fleet", done.returncode, json.loads(done.stdout), done.stderr)


def named(*targets: str) -> list[str]:
    return [word for target in targets for word in ("--target", target)]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("here")


@pytest.fixture(scope="module")
def fleet(environment: dict[str, str], here: Path) -> Fleet:
    return deploy_fleet(environment, here, *named(*TARGETS))


def test_every_target_has_a_bundle_of_the_one_checkpoint(fleet: Fleet) -> None:
    assert (fleet.code, fleet.result["failed"]) == (0, []), fleet.stderr[-3000:]
    reports = {name: read_report(fleet.run / name / "report.json") for name in TARGETS}
    assert {report.repeat.hashes["trained weights"] for report in reports.values()} == {fleet.result["checkpoint"]}
    for name in TARGETS:
        told, bundle = fleet.bundle(name), read_bundle(fleet.run / name / "deployment")
        assert (told["bundle"], told["file"]) == (f"{name}/deployment", bundle.manifest.artifact.path)
        assert told["sha256"] == bundle.manifest.artifact.sha256
        assert told["expected"]["value_ns"] == bundle.manifest.latency.expected.value_ns
        assert told["checkpoint"] == fleet.result["checkpoint"]
    assert {name: fleet.bundle(name)["expected"]["provenance"] for name in TARGETS} == {
        "pixel7-cpu": "emulated", "pixel7-npu": "predicted", "galaxy-s23-cpu": "emulated",
    }  # fmt: skip


def test_what_targets_share_is_made_once(fleet: Fleet) -> None:
    assert all("training" in fleet.reused(name) for name in TARGETS)
    shared = {"evaluation", "export"}
    assert not {"export", "profiling"} & fleet.reused("pixel7-cpu")
    assert shared <= fleet.reused("galaxy-s23-cpu") and "profiling" not in fleet.reused("galaxy-s23-cpu")


def test_index_pack_and_comparison_lie_in_the_run_folder(fleet: Fleet) -> None:
    index = json.loads((fleet.run / "index.json").read_text())
    assert index == {key: fleet.result[key] for key in index}
    assert [(soc["soc"], soc["default"]) for soc in index["socs"]] == [
        ("Google Tensor G2", "pixel7-cpu"), ("Qualcomm SM8550", "galaxy-s23-cpu"),
    ]  # fmt: skip
    assert index["fallback"] == "pixel7-cpu"
    pack = fleet.run / "ai-pack" / "segmentation" / "src" / "main" / "assets"
    assert read_bundle(pack / "bundle#group_Qualcomm_SM8550").manifest.target.name == "galaxy-s23-cpu"
    page = (fleet.run / "comparison.html").read_text()
    assert all(name in page for name in TARGETS)


def test_a_targets_own_file_repeats_its_run(fleet: Fleet, environment: dict[str, str], here: Path) -> None:
    own = {**environment, "PYTHONPATH": ":".join(map(str, PATHS)), "OMP_NUM_THREADS": "1"}
    config = fleet.run / "galaxy-s23-cpu" / "config.toml"
    words = ["deploy", "--config", str(config), "--run", "alone", "--json"]
    done = subprocess.run([sys.executable, "-m", "pipeline", *words], cwd=here, env=own, capture_output=True, text=True,
                          timeout=900)  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)["artifact"]["sha256"] == fleet.bundle("galaxy-s23-cpu")["sha256"]


def test_a_failing_target_leaves_the_others_and_a_second_run_reuses_everything(
    fleet: Fleet, environment: dict[str, str], here: Path
) -> None:
    """The bound lies between the CPUs and the NPU, which can't meet it; no Pixel 8 is there or can be emulated."""
    within = max(fleet.bundle(name)["expected"]["value_ns"] for name in TARGETS if name != "pixel7-npu")
    beyond = fleet.bundle("pixel7-npu")["expected"]["value_ns"]
    bound = f"{round((within + beyond) / 2)}ns"
    again = deploy_fleet(environment, here, *named(TARGETS[1], "pixel8-cpu", *TARGETS[::2]), "--max-latency", bound)
    failed = {row["target"]: row for row in again.result["failed"]}
    assert {name: row["exit_code"] for name, row in failed.items()} == {"pixel7-npu": 3, "pixel8-cpu": 4}
    assert "nearest feasible" in failed["pixel7-npu"]["error"] and again.code == 3
    assert [line for line in again.stderr.splitlines() if line.startswith("error: ")] == [
        f"error: {name}: {row['error']}" for name, row in failed.items()
    ]
    assert "no Pixel 8 is attached" in failed["pixel8-cpu"]["error"]
    for name in TARGETS[::2]:
        assert {"training", "evaluation", "profiling", "export", "whole latency", "phone check"} <= again.reused(name)
        assert again.bundle(name)["sha256"] == fleet.bundle(name)["sha256"]
    page = (again.run / "comparison.html").read_text()
    assert "galaxy-s23-cpu" in page and "pixel7-npu" not in page
