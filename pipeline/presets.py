"""Presets: how much effort a run takes. No torch here."""

import msgspec

from device_profiler.errors import InputError
from pipeline.data.source import DataAmounts
from pipeline.training.schedule import StageSchedule, TrainingSchedule


class Preset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Network, data and training of one level of effort.

    `heads` stand at every exit, the first at the last exit is the full network's. `area` (pixels) is what the input
    size is chosen from where none is given; `amounts` are for composed data sources. `data` is the default source.
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
    heads=tuple(f"{kind}-r{reduction}" for kind in ("lraspp", "fcn") for reduction in (1, 2, 4, 8)),
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
    """The preset called `name`. Raises InputError that lists the known ones."""
    if name not in PRESETS:
        raise InputError(f"unknown preset {name!r}; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
