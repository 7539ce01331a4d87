"""Which trainings answer which open question of the method: a plan is a list of runs, declared as data."""

from dataclasses import dataclass, replace

import msgspec

from pipeline.data.source import DataAmounts
from pipeline.model import ModelSpec, build_model, count_model
from pipeline.training.schedule import StageSchedule, TrainingMethod, TrainingSchedule, Variant
from pipeline.training.stages import plain_head, with_plain_heads


@dataclass(frozen=True)
class Effort:
    """Data, network and steps that all runs of a plan share. `size` is (height, width)."""

    name: str
    data: str
    size: tuple[int, int]
    amounts: DataAmounts
    backbone: str
    heads: tuple[str, ...]
    exits: int
    steps: tuple[int, int]  # of both stages
    batch: int
    pretrained: bool = True


@dataclass(frozen=True)
class Run:
    """One training: `question` groups what the table compares; the seed is added by the runner.

    `same_work`: stage 1 goes on for the multiply-adds that both stages of the default take together, so that a plain
    single-exit network is compared after the same work.
    """

    question: str
    label: str
    method: TrainingMethod
    alpha: float = 0.5
    output_stride: int = 16
    same_work: bool = False

    def schedule(self, effort: Effort, seed: int, spec: ModelSpec) -> TrainingSchedule:
        """The schedule of this run."""
        first, second = effort.steps
        first = first_steps_of_same_work(spec, effort.steps) if self.same_work else first
        return TrainingSchedule(
            exit_dropout=StageSchedule(
                steps=first, batch=effort.batch, head_rate=2e-3, backbone_rate=5e-4, warmup=first // 50, loss_stride=2
            ),
            distillation=StageSchedule(
                steps=second, batch=effort.batch, head_rate=2e-3, warmup=second // 50, loss_stride=4
            ),
            distillation_alpha=self.alpha,
            seed=seed,
            pretrained=effort.pretrained,
            method=self.method,
        )


MESS = TrainingMethod(scheme="round-robin", variant="filtered-ce")
"""As the paper has it, and what every question varies one thing of."""

SINGLE = "single exit for the whole time"
"""The run that the goals are counted against."""

END_TO_END, LEARNS_ON, REUSED = "end to end, all exits", "none, the full network's head learns on", "reused"
CHOSEN = frozenset({END_TO_END, LEARNS_ON, REUSED, "0.5", "1"})
"""Per question, the label of the default: what the others are subtracted from, seed by seed."""

BACKWARD = 2
"""Work of a backward pass in forward passes: one for the inputs' gradient, one for the weights'."""


def first_steps_of_same_work(spec: ModelSpec, steps: tuple[int, int]) -> int:
    """Steps of single-exit training that cost the multiply-adds of both stages of exit-dropout, round robin.

    Batches are of one size in both stages, so work is counted for one image.
    """
    whole = with_plain_heads(spec, MESS)
    cost = count_model(build_model(whole, pretrained=False))
    last, reference = spec.reference
    full = cost.total(last, reference)
    plain = [cost.heads[e][names.index(plain_head(spec, e))] for e, names in enumerate(whole.heads) if e != last]
    heads = sum(sum(macs[: len(names)]) for macs, names in zip(cost.heads, spec.heads, strict=True))
    first = (1 + BACKWARD) * (full + sum(plain) / len(plain))
    second = full + (1 + BACKWARD) * (heads - cost.heads[last][reference])
    return round((steps[0] * first + steps[1] * second) / ((1 + BACKWARD) * full))


def _varied(**change: object) -> TrainingMethod:
    return msgspec.structs.replace(MESS, **change)


def runs(output_strides: tuple[int, ...]) -> list[Run]:
    """Every run, for each form of the backbone: light (16 or 32) and dilated (8)."""
    return [
        replace(run, question=f"{run.question}, output stride {stride}", output_stride=stride)
        for stride in output_strides
        for run in _one_form()
    ]


_VARIANTS: tuple[tuple[str, Variant], ...] = (
    (LEARNS_ON, "labels"),
    ("none", "none"),
    ("KD", "kd"),
    ("filtered CE", "filtered-ce"),
    ("filtered KL", "filtered-kl"),
    ("filtered CE and KL", "filtered-both"),
)


def _one_form() -> list[Run]:
    schemes = [
        Run("stage 1", "exit-dropout (a), round robin", MESS),
        Run("stage 1", "exit-dropout (b), divisors", _varied(scheme="divisors")),
        Run("stage 1", END_TO_END, _varied(scheme="end-to-end")),
        Run("stage 1", "single exit, then frozen", _varied(scheme="last-exit")),
        Run("stage 1", SINGLE, _varied(scheme="last-exit"), same_work=True),
    ]
    variants = [Run("distillation", label, _varied(variant=variant)) for label, variant in _VARIANTS]
    taught = [
        Run("distillation after end to end", label, _varied(scheme="end-to-end", variant=variant))
        for label, variant in _VARIANTS
    ]
    weights = [Run("alpha", f"{alpha:g}", MESS, alpha) for alpha in (0.25, 0.5, 0.75)]
    temperatures = [Run("temperature", f"{t:g}", _varied(temperature=t)) for t in (1.0, 2.0, 4.0)]
    heads = [
        Run("heads of stage 1", REUSED, MESS),
        Run("heads of stage 1", "started anew", _varied(fresh_heads=True)),
    ]
    return [*schemes, *variants, *taught, *weights, *temperatures, *heads]


EFFORTS = {
    "smoke": Effort(
        "smoke", "shapes", (64, 64), DataAmounts(32, 8, 2, 8), "mobilenet_v3_small", ("lraspp-r4", "fcn-r4"), 3,
        (6, 4), 2, pretrained=False,
    ),
    "quick": Effort(
        "quick", "", (192, 256), DataAmounts(2400, 200, 160, 240), "efficientnet_lite0",
        ("lraspp-r1", "lraspp-r2", "fcn-r1", "fcn-r4"), 6, (600, 240), 8,
    ),
    "long": Effort(
        "long", "", (192, 256), DataAmounts(6000, 200, 160, 240), "efficientnet_lite0",
        ("lraspp-r1", "lraspp-r2", "lraspp-r4", "dsaspp-r1", "dsaspp-r4", "fcn-r1", "fcn-r4", "fcn-r1-b1"), 6,
        (3600, 1200), 8,
    ),
}
"""Without data of its own, an effort takes what --data names. 256x192 stands for CamVid's 480x360: multiples of 32."""
