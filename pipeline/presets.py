"""Presets: how much effort a run takes, by name or from a file of one's own. No torch here."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from device_profiler.errors import InputError
from pipeline.data.source import DataAmounts
from pipeline.training.schedule import StageSchedule, TrainingSchedule


class Preset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Network, data and training of one level of effort.

    `heads` stand at every exit, the first at the last exit is the full network's. `area` (pixels) is what the input
    size is chosen from where none is given; `amounts` are for composed data sources. `data` is the default source,
    `policy` the exit policy.
    """

    name: str
    data: str
    backbone: str
    output_stride: int
    exits: int
    heads: tuple[str, ...]
    area: int
    amounts: DataAmounts
    training: TrainingSchedule
    policy: str = "mean"


SMOKE = Preset(
    name="smoke",
    data="shapes",
    backbone="efficientnet_lite0",
    output_stride=16,
    exits=3,
    heads=("lraspp-r1", "fcn-r4"),
    area=64 * 64,
    amounts=DataAmounts(train=256, search=48, certify=48, test=48),
    training=TrainingSchedule(
        exit_dropout=StageSchedule(steps=150, batch=8, head_rate=2e-3, backbone_rate=2e-3),
        distillation=StageSchedule(steps=30, batch=8, head_rate=3e-3),
        scale=(0.9, 1.3),
        photometric=0.15,
    ),
)

QUICK = Preset(
    name="quick",
    data="sample",
    backbone="efficientnet_lite0",
    output_stride=16,
    exits=6,
    heads=("lraspp-r1", "lraspp-r2", "fcn-r1", "fcn-r4"),
    area=256 * 256,
    amounts=DataAmounts(train=2400, search=200, certify=160, test=240),
    training=TrainingSchedule(
        exit_dropout=StageSchedule(steps=520, batch=8, head_rate=2e-3, backbone_rate=5e-4, loss_stride=2),
        distillation=StageSchedule(steps=200, batch=8, head_rate=2e-3, loss_stride=4),
    ),
)

FULL = Preset(
    name="full",
    data="sample",
    backbone="efficientnet_lite0",
    output_stride=16,
    exits=6,
    heads=("lraspp-r1", "mobile", "fcn-r1", "fcn-r2", "fcn-r4", "fcn-r8"),
    area=384 * 384,
    amounts=DataAmounts(train=6000, search=500, certify=1000, test=500),
    training=TrainingSchedule(
        exit_dropout=StageSchedule(steps=30000, batch=16, head_rate=2e-3, backbone_rate=5e-4, warmup=500),
        distillation=StageSchedule(steps=10000, batch=16, head_rate=2e-3, warmup=100, loss_stride=4),
        save_every=500,
    ),
)

PRESETS = {preset.name: preset for preset in (SMOKE, QUICK, FULL)}


def find_preset(name: str) -> Preset:
    """The preset called `name`, or the one that a file NAME.toml describes.

    A file has the fields of `Preset`, nested as tables; `base` names the preset that gives what it leaves out (default:
    quick).

    Raises:
        InputError: no such preset or file (the known ones are listed), or a field that is unknown or of another type.
    """
    if name in PRESETS:
        return PRESETS[name]
    if not name.endswith(".toml"):
        raise InputError(f"unknown preset {name!r}; choose one of {', '.join(PRESETS)}, or a file FILE.toml")
    return _read_preset(Path(name))


def _read_preset(path: Path) -> Preset:
    try:
        content = tomllib.loads(path.read_text())
    except OSError as error:
        raise InputError(f"can't read the preset {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no valid TOML: {error}") from None
    base = content.pop("base", QUICK.name)
    if base not in PRESETS:
        raise InputError(f"{path}: base = {base!r}; choose one of {', '.join(PRESETS)}")
    merged = _merged({**msgspec.to_builtins(PRESETS[base]), "name": path.stem}, content)
    try:
        return msgspec.convert(merged, Preset)
    except msgspec.ValidationError as error:
        raise InputError(f"{path}: {error}; a preset has {', '.join(Preset.__struct_fields__)}") from None


def _merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with what `change` states, table by table."""
    return {
        key: _merged(base[key], change[key])
        if isinstance(base.get(key), dict) and isinstance(change.get(key), dict)
        else change.get(key, base.get(key))
        for key in (*base, *(key for key in change if key not in base))
    }
