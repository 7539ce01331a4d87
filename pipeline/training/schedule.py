"""How long and how hard to train: everything a user may turn, as data. No torch here."""

import msgspec


class StageSchedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One stage: `steps` of `batch` images; learning rates fall by a polynomial of power 0.9 after `warmup` steps.

    Losses are taken on every `loss_stride`-th pixel of the enlarged logits, in both directions.
    """

    steps: int
    batch: int
    head_rate: float
    backbone_rate: float = 0.0
    warmup: int = 10
    loss_stride: int = 1


class TrainingSchedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Both stages, and what they share.

    `scale` bounds the random enlargement of training images, `photometric` the relative change of brightness, contrast
    and saturation. `class_weight_power` p weighs classes by (frequency)^-p. `distillation_alpha` weighs the filtered
    cross entropy against the distillation term in stage 2.
    """

    exit_dropout: StageSchedule
    distillation: StageSchedule
    weight_decay: float = 0.01
    scale: tuple[float, float] = (0.7, 1.8)
    photometric: float = 0.3
    class_weight_power: float = 0.5
    distillation_alpha: float = 0.5
    seed: int = 0
    pretrained: bool = True
    save_every: int = 25
