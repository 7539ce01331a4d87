"""How long, how hard and by which method to train: everything a user may turn, as data. No torch here."""

from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

Scheme = Literal["round-robin", "divisors", "end-to-end", "last-exit", "none"]
"""What stage 1 trains the backbone with: the last exit and, by step, one early exit in turn (`round-robin`, MESS),
those whose number divides the step (`divisors`, the other reading of MESS), all of them (`end-to-end`) or none
(`last-exit`: a single-exit network, whose frozen backbone the heads then read). `none`: the weights stay as given."""

Variant = Literal["labels", "none", "kd", "filtered-ce", "filtered-kl", "filtered-both"]
"""What stage 2 learns from the full network: nothing (`labels`, `none`), its distribution (`kd`), and which term counts
only where it is right (positive filtering): the cross entropy, the divergence or both. By `labels` the full network's
own head learns on beside the others, on the frozen backbone, where stage 1 trained it; else it stands still."""

Precision = Literal["fp32", "bf16", "fp16"]

# What a preset file is held against; a schedule made in Python is checked when it is trained.
Count = Annotated[int, Meta(ge=1)]
Steps = Annotated[int, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
Fraction = Annotated[float, Meta(ge=0, le=1)]

SCHEMES: tuple[Scheme, ...] = get_args(Scheme)
VARIANTS: tuple[Variant, ...] = get_args(Variant)


class StageSchedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One stage: `steps` of `batch` images; learning rates fall by a polynomial of power 0.9 after `warmup` steps.

    Losses are taken on every `loss_stride`-th pixel of the enlarged logits, in both directions.
    """

    steps: Steps
    batch: Count
    head_rate: Positive
    backbone_rate: NotNegative = 0.0
    warmup: Steps = 10
    loss_stride: Count = 1


class TrainingMethod(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is open in the method, and how it is computed.

    `temperature` softens both distributions of the divergence. `fresh_heads`: stage 2 starts every head anew instead of
    going on with those of stage 1. `independent`: every head has random numbers and a gradient bound of its own, so
    that training any subset with the heads of stage 1 in it gives each the same weights. A step takes `accumulate`
    batches.
    """

    scheme: Scheme = "end-to-end"
    variant: Variant = "labels"
    temperature: Positive = 1.0
    fresh_heads: bool = False
    independent: bool = True
    accumulate: Count = 1
    precision: Precision = "fp32"

    @property
    def has_teacher(self) -> bool:
        """Whether stage 2 learns from the full network."""
        return self.variant not in ("labels", "none")


class TrainingSchedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Both stages, and what they share.

    `scale` bounds the random enlargement of training images, `photometric` the relative change of brightness, contrast
    and saturation. `class_weight_power` p weighs classes by (frequency)^-p. `distillation_alpha` weighs the filtered
    cross entropy against the distillation term in stage 2.
    """

    exit_dropout: StageSchedule
    distillation: StageSchedule
    weight_decay: NotNegative = 0.01
    scale: tuple[Positive, Positive] = (0.7, 1.8)
    photometric: Fraction = 0.3
    class_weight_power: NotNegative = 0.5
    distillation_alpha: Fraction = 0.5
    seed: int = 0
    pretrained: bool = True
    save_every: Count = 25
    method: TrainingMethod = TrainingMethod()
