"""The index of a fleet: bundles by SoC, under every name of the SoC, with the provenance of every figure."""

import json
from pathlib import Path

import jsonschema
import msgspec
import pytest
from ai_edge_litert.aot.ai_pack import export_lib
from ai_edge_litert.aot.vendors.google_tensor import target as google
from ai_edge_litert.aot.vendors.mediatek import target as mediatek
from ai_edge_litert.aot.vendors.qualcomm import target as qualcomm
from fleet_factory import WEIGHTS, fleet_index

from device_profiler.emulator.phone_profile import known_profiles, load_profile
from device_profiler.targets import Target, all_targets, find_target, soc_names
from pipeline.fleet.index import BundleIndex, FailedTarget, encode_index, group_name, make_index, schema_text

ROOT = Path(__file__).parents[2]
ON_ANDROID = [target for target in all_targets() if not target.soc.startswith("Apple")]


def pairs(target: Target) -> set[tuple[str, str]]:
    return {(name.manufacturer, name.model) for name in soc_names(target)}


def test_bundles_stand_by_soc_and_the_first_named_is_the_default(tmp_path: Path) -> None:
    index = fleet_index(tmp_path, "pixel7-npu", "galaxy-s23-cpu", "pixel7-cpu")
    assert [(soc.soc, soc.default) for soc in index.socs] == [
        ("Google Tensor G2", "pixel7-npu"), ("Qualcomm SM8550", "galaxy-s23-cpu"),
    ]  # fmt: skip
    assert [bundle.target for bundle in index.socs[0].bundles] == ["pixel7-npu", "pixel7-cpu"]
    assert index.fallback == "galaxy-s23-cpu"
    assert index.checkpoint == index.bundle("pixel7-cpu").checkpoint == WEIGHTS


def test_a_bundle_is_told_with_its_file_and_where_its_figures_come_from(tmp_path: Path) -> None:
    index = fleet_index(tmp_path, "pixel7-npu", "pixel7-cpu")
    npu = index.bundle("pixel7-npu")
    assert (npu.device, npu.unit, npu.runtime, npu.precision) == ("Pixel 7", "npu", "litert", "int8")
    file = tmp_path / npu.bundle / npu.file
    assert (npu.bundle, npu.size_bytes) == ("pixel7-npu/deployment", file.stat().st_size)
    assert (npu.expected.value_ns, npu.worst.value_ns) == (3e6, 4e6)
    assert [index.bundle(name).expected.provenance for name in ("pixel7-npu", "pixel7-cpu")] == [
        "predicted", "emulated",
    ]  # fmt: skip
    assert (npu.miou, npu.images) == (0.5, 8), "of the file as shipped, not of the search"
    assert npu.warnings == ("made up",)


def test_without_a_cpu_bundle_there_is_no_fallback(tmp_path: Path) -> None:
    assert fleet_index(tmp_path, "pixel7-npu").fallback is None


def test_a_failed_target_is_told_and_has_no_bundle() -> None:
    index = make_index([], WEIGHTS, [FailedTarget("pixel8-cpu", "no Pixel 8 is attached", 4)])
    assert (index.socs, index.fallback, index.failed[0].exit_code) == ((), None, 4)


def test_the_file_fits_its_schema_and_comes_back(tmp_path: Path) -> None:
    index = fleet_index(tmp_path, "pixel7-npu", "galaxy-s23-cpu")
    content = encode_index(index)
    schema = json.loads((ROOT / "docs" / "index.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(content), schema)
    assert msgspec.json.decode(content, type=BundleIndex) == index
    spoilt = json.loads(content)
    spoilt["socs"][0]["bundles"][0]["sha256"] = "none"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(spoilt, schema)


def test_the_schema_in_docs_is_the_indexs() -> None:
    kept = (ROOT / "docs" / "index.schema.json").read_text()
    assert kept == schema_text(), "write it again: python -m pipeline.fleet.index > docs/index.schema.json"


def test_every_android_target_has_a_soc_name_and_no_two_socs_share_one() -> None:
    assert [target.name for target in ON_ANDROID if not soc_names(target)] == []
    by_soc = {target.soc: pairs(target) for target in ON_ANDROID}
    assert sum(map(len, by_soc.values())) == len(set().union(*by_soc.values()))
    assert len({group_name(soc) for soc in by_soc}) == len(by_soc)


@pytest.mark.parametrize("name", known_profiles())
def test_an_emulated_phone_tells_a_name_that_the_index_has(name: str) -> None:
    told = load_profile(name).properties
    targets = [target for target in all_targets() if target.emulated == name]
    assert targets
    for target in targets:
        assert (told["ro.soc.manufacturer"], told["ro.soc.model"]) in pairs(target)


def test_names_are_those_of_litert_for_the_socs_that_it_knows() -> None:
    known = {
        "galaxy-s23-cpu": set(export_lib._process_qnn_target(qualcomm.Target(qualcomm.SocModel.SM8550))),
        "galaxy-s24-cpu": set(export_lib._process_qnn_target(qualcomm.Target(qualcomm.SocModel.SM8650))),
        "pixel8-cpu": {export_lib._process_google_tensor_target(google.Target(google.SocModel.TENSOR_G3))},
        "pixel9-cpu": {export_lib._process_google_tensor_target(google.Target(google.SocModel.TENSOR_G4))},
        "dimensity9300-cpu": {export_lib._process_mtk_target(mediatek.Target(mediatek.SocModel.MT6989))},
    }
    assert {name: pairs(find_target(name)) for name in known} == known


@pytest.mark.parametrize(("soc", "group"), [("Google Tensor G2", "Google_Tensor_G2"), ("8 Gen", "soc_8_Gen")])
def test_a_group_name_is_a_letter_then_letters_digits_and_underscores(soc: str, group: str) -> None:
    assert group_name(soc) == group
