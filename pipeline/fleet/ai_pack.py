"""A Google Play AI pack of a fleet: every SoC's default bundle in a folder of its device group, and the groups.

Rules of Play (developer.android.com/google/play/on-device-ai, read in November 2026): names of packs and groups are a
letter, then letters, digits and underscores; a selector matches a phone with any chip in it, to the letter, from
Android 12 on; phones of no group get what lies in #group_other, a name that must not be defined. LiteRT's exporter
(ai_edge_litert.aot.ai_pack) writes the same layout.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import quoteattr

from pipeline.fleet.index import BundleIndex, SocBundles

FOLDER = "ai-pack"
PACK = "segmentation"
ASSET = "bundle"
TARGETING = "device_targeting_configuration.xml"
OTHER = "other"
GRADLE = f"""\
// The bundle of each phone's SoC, as Play delivers it soon after the installation: files that the app's code can open.
plugins {{
    id 'com.android.ai-pack'
}}

aiPack {{
    packName = "{PACK}"
    dynamicDelivery {{
        deliveryType = "fast-follow"
    }}
}}
"""


def write_ai_pack(index: BundleIndex, run: Path) -> Path | None:
    """Write the pack into RUN/ai-pack, whole or not at all; what was there is replaced. `run` is the index's folder.

    None where no phone of Google Play has a bundle.
    """
    whole, folder = run / f"{FOLDER}.partial", run / FOLDER
    shutil.rmtree(whole, ignore_errors=True)
    if not any(soc.names for soc in index.socs):
        shutil.rmtree(folder, ignore_errors=True)
        return None
    assets = whole / PACK / "src" / "main" / "assets"
    assets.mkdir(parents=True)
    for group, target in groups(index).items():
        shutil.copytree(run / index.bundle(target).bundle, assets / f"{ASSET}#group_{group}")
    (whole / PACK / "build.gradle").write_text(GRADLE)
    (whole / TARGETING).write_text(targeting(index))
    shutil.rmtree(folder, ignore_errors=True)
    whole.rename(folder)
    return folder


def groups(index: BundleIndex) -> Mapping[str, str]:
    """Target by device group, the fallback last; phones of SoCs that Android does not name fall back too."""
    named = {soc.group: soc.default for soc in index.socs if soc.names}
    return named | ({OTHER: index.fallback} if index.fallback else {})


def targeting(index: BundleIndex) -> str:
    """The device targeting configuration: a group a SoC, chosen by any of its names."""
    text = "\n".join(_group(soc) for soc in index.socs if soc.names)
    return (
        '<config:device-targeting-config\n    xmlns:config="http://schemas.android.com/apk/config">\n'
        f"{text}\n</config:device-targeting-config>\n"
    )


def _group(soc: SocBundles) -> str:
    pairs = [(quoteattr(name.manufacturer), quoteattr(name.model)) for name in soc.names]
    chips = "\n".join(
        f"            <config:system-on-chip manufacturer={maker} model={model}/>" for maker, model in pairs
    )
    return (
        f"    <config:device-group name={quoteattr(soc.group)}>\n        <config:device-selector>\n{chips}\n"
        "        </config:device-selector>\n    </config:device-group>"
    )
