"""The Google Play AI pack of a fleet, held against Play's rules for names, groups and folders."""

import filecmp
import re
from pathlib import Path
from xml.etree import ElementTree

from fleet_factory import fleet_index

from pipeline.fleet.ai_pack import TARGETING, write_ai_pack
from pipeline.fleet.index import SocBundles, make_index

NAMESPACE = "{http://schemas.android.com/apk/config}"
NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_]*")
MOST_SELECTORS = 5


def assets(pack: Path) -> dict[str, Path]:
    """Folders of the one pack by group."""
    [folder] = [path for path in pack.iterdir() if path.is_dir()]
    assert NAME.fullmatch(folder.name) and f'packName = "{folder.name}"' in (folder / "build.gradle").read_text()
    found = {path.name.partition("#group_")[2]: path for path in (folder / "src" / "main" / "assets").iterdir()}
    assert {path.name.partition("#")[0] for path in found.values()} == {"bundle"}
    return found


def groups(pack: Path) -> dict[str, set[tuple[str, str]]]:
    """Chips by group, as the configuration has them."""
    root = ElementTree.parse(pack / TARGETING).getroot()
    assert root.tag == f"{NAMESPACE}device-targeting-config"
    found = {}
    for group in root:
        selectors = group.findall(f"{NAMESPACE}device-selector")
        assert 1 <= len(selectors) <= MOST_SELECTORS
        chips = [chip for selector in selectors for chip in selector.findall(f"{NAMESPACE}system-on-chip")]
        found[group.attrib["name"]] = {(chip.attrib["manufacturer"], chip.attrib["model"]) for chip in chips}
    return found


def same(one: Path, two: Path) -> bool:
    compared = filecmp.dircmp(one, two)
    return not (compared.left_only or compared.right_only or compared.diff_files)


def soc_of(socs: tuple[SocBundles, ...], group: str) -> SocBundles:
    return next(soc for soc in socs if soc.group == group)


def test_every_soc_gets_its_default_and_others_the_fallback(tmp_path: Path) -> None:
    index = fleet_index(tmp_path, "pixel7-npu", "pixel7-cpu", "galaxy-s23-cpu")
    pack = write_ai_pack(index, tmp_path)
    assert pack is not None
    folders, told = assets(pack), groups(pack)
    assert folders.keys() == told.keys() | {"other"} and "other" not in told
    assert all(NAME.fullmatch(name) for name in told)
    assert told["Google_Tensor_G2"] == {("Google", "Tensor G2"), ("Google", "GS201")}
    assert told["Qualcomm_SM8550"] == {("QTI", "SM8550"), ("Qualcomm", "SM8550")}
    for group in told:
        assert same(folders[group], tmp_path / soc_of(index.socs, group).default / "deployment")
    assert same(folders["other"], tmp_path / "pixel7-cpu" / "deployment")
    assert not same(folders["Google_Tensor_G2"], folders["other"])


def test_without_a_cpu_bundle_other_phones_get_nothing(tmp_path: Path) -> None:
    pack = write_ai_pack(fleet_index(tmp_path, "pixel7-npu"), tmp_path)
    assert pack is not None and set(assets(pack)) == {"Google_Tensor_G2"}


def test_an_earlier_pack_is_replaced_whole(tmp_path: Path) -> None:
    index = fleet_index(tmp_path, "pixel7-cpu", "galaxy-s23-cpu")
    pack = write_ai_pack(index, tmp_path)
    assert pack is not None
    (next(iter(assets(pack).values())) / "left over").write_text("from an earlier run")
    again = write_ai_pack(index, tmp_path)
    assert again is not None and set(assets(again)) == {"Google_Tensor_G2", "Qualcomm_SM8550", "other"}
    assert list(again.rglob("left over")) == []
    assert write_ai_pack(make_index([], index.checkpoint), tmp_path) is None
    assert [path.name for path in tmp_path.glob("ai-pack*")] == []
