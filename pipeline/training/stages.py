"""The two stages: which parameters move, and the losses of one batch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec
import torch
from torch import Tensor, nn

from pipeline.data.source import DataSource
from pipeline.model import ModelSpec, MultiExitModel
from pipeline.training.losses import Teacher, class_weights, segmentation_loss, thin_labels
from pipeline.training.schedule import StageSchedule, TrainingMethod, TrainingSchedule
from pipeline.training.seeds import seed_of

HeadPlace = tuple[int, str]
"""Exit (index from 0) and name of a head."""


@dataclass(frozen=True, eq=False)
class Objective:
    """A loss with the parameters that it alone moves; `title` names it in messages."""

    title: str
    parameters: Sequence[nn.Parameter]
    loss: Tensor


class Stage(Protocol):
    """One stage of training."""

    number: int
    title: str
    schedule: StageSchedule
    model: MultiExitModel

    def prepare(self) -> None:
        """Set every part of the model to train or to stand still."""

    def moving(self) -> nn.Module:
        """What is trained: its parameters and statistics are all that this stage changes."""

    def parameter_groups(self) -> list[dict[str, object]]:
        """Parameters that move, with their learning rates."""

    def objectives(self, step: int, images: Tensor, labels: Tensor, seed: int) -> Iterator[Objective]:
        """Losses of one batch, each to be differentiated before the next is asked for.

        images [B, 3, H, W] in 0..255, labels int64 [B, H, W] as in the masks; `seed` starts the random numbers.
        """


PLAIN = "fcn-r1"
"""The head at every candidate point in stage 1 (MESS, arXiv 2106.03527)."""


def plain_head(spec: ModelSpec, exit_index: int) -> str:
    """The head that stands for an exit in stage 1: a plain FCN head; at the last exit the full network's head."""
    return spec.reference_head if exit_index == spec.reference[0] else PLAIN


def with_plain_heads(spec: ModelSpec, method: TrainingMethod) -> ModelSpec:
    """What stage 1 trains: a head that it needs and the space lacks stands last at its exit, and is dropped in the end.

    So what a head becomes hangs on no other head of the space.
    """
    if method.scheme in ("last-exit", "none"):
        return spec
    needed = [plain_head(spec, e) for e in range(len(spec.exits))]
    heads = tuple(names if one in names else (*names, one) for one, names in zip(needed, spec.heads, strict=True))
    return msgspec.structs.replace(spec, heads=heads)


class BackboneStage:
    """Stage 1: backbone and full network end to end, with the early exits that the scheme names for a step.

    `round-robin`, MESS' exit-dropout (arXiv 2106.03527): L_j = CE(y_{1 + j mod (N-1)}, t) + CE(y_N, t).
    """

    number = 1

    def __init__(self, model: MultiExitModel, source: DataSource, schedule: TrainingSchedule) -> None:
        self.model = model
        self.schedule = schedule.exit_dropout
        self.scheme = schedule.method.scheme
        self.title = f"stage 1: backbone ({self.scheme})"
        self.ignore = source.classes.ignore
        self.weights = class_weights(source.train, len(source.classes), self.ignore, schedule.class_weight_power)
        self.last = model.spec.reference[0]
        self.heads = {i: model.head(i, plain_head(model.spec, i)) for i in self.exits()}

    def exits(self) -> list[int]:
        """Exits that this stage trains."""
        every = range(len(self.model.blocks))
        return [self.last] if self.scheme in ("last-exit", "none") else list(every)

    def prepare(self) -> None:
        """Everything that this stage uses is trained; the other heads wait for stage 2."""
        self.model.requires_grad_(False).eval()
        self.moving().requires_grad_(True).train()

    def moving(self) -> nn.Module:
        """The backbone and one head an exit."""
        heads = {f"exit{index}": head for index, head in self.heads.items()}
        return nn.ModuleDict({"blocks": self.model.blocks, **heads})

    def parameter_groups(self) -> list[dict[str, object]]:
        """The backbone at its own, lower rate."""
        heads = [parameter for head in self.heads.values() for parameter in head.parameters()]
        return [
            {"params": list(self.model.blocks.parameters()), "lr": self.schedule.backbone_rate},
            {"params": heads, "lr": self.schedule.head_rate},
        ]

    def active(self, step: int) -> list[int]:
        """Early exits that count in step `step` (from 0)."""
        early = [index for index in self.heads if index != self.last]
        if self.scheme == "round-robin":
            return [early[step % len(early)]] if early else []
        if self.scheme == "divisors":
            return [index for number, index in enumerate(early, 1) if (step + 1) % number == 0]
        return early

    def loss(self, step: int, images: Tensor, labels: Tensor) -> Tensor:
        """Sum of the cross entropies at the step's early exits and at the last."""
        features = self.model.forward_features(images)
        targets = thin_labels(labels, self.ignore, self.schedule.loss_stride)
        exits = [*self.active(step), self.last]
        losses = [segmentation_loss(self.heads[i](features[i]), targets, self.weights) for i in exits]
        return torch.stack(losses).sum()

    def objectives(self, step: int, images: Tensor, labels: Tensor, seed: int) -> Iterator[Objective]:
        """One: the sum."""
        torch.manual_seed(seed)
        moving = [parameter for group in self.parameter_groups() for parameter in group["params"]]  # type: ignore[attr-defined]
        yield Objective("", moving, self.loss(step, images, labels))


class HeadStage:
    """Stage 2: other heads of all exits from one pass through the frozen backbone, taught by the full network."""

    number = 2

    def __init__(
        self,
        model: MultiExitModel,
        source: DataSource,
        schedule: TrainingSchedule,
        students: Sequence[HeadPlace] | None = None,
    ) -> None:
        """`students`: those of the network's heads that learn here, by default all that may (`student_places`)."""
        self.model = model
        self.schedule = schedule.distillation
        self.method = schedule.method
        self.alpha = schedule.distillation_alpha
        self.ignore = source.classes.ignore
        self.weights = class_weights(source.train, len(source.classes), self.ignore, schedule.class_weight_power)
        self.places = tuple(students or student_places(model.spec, self.method))
        taught = ", taught by the last exit" if self.method.has_teacher else ""
        self.title = f"stage 2: {len(self.places)} heads{taught}"

    def students(self) -> Iterator[tuple[int, nn.Module]]:
        """Exit index and head of everything that learns here."""
        for index, name in self.places:
            yield index, self.model.head(index, name)

    def prepare(self) -> None:
        """The backbone, and what is no student, stands still, BatchNorm statistics included."""
        self.model.requires_grad_(False).eval()
        self.moving().requires_grad_(True).train()

    def moving(self) -> nn.Module:
        """The students."""
        return nn.ModuleDict({f"exit{index}/{name}": self.model.head(index, name) for index, name in self.places})

    def parameter_groups(self) -> list[dict[str, object]]:
        """One group: the students."""
        moving = [parameter for _, head in self.students() for parameter in head.parameters()]
        return [{"params": moving, "lr": self.schedule.head_rate}]

    def loss(self, step: int, images: Tensor, labels: Tensor) -> Tensor:
        """Sum of the students' losses; they share no parameter, so each learns from its own alone."""
        features, teacher = self._teacher(images, labels)
        return torch.stack([teacher.loss(head(features[index])) for index, head in self.students()]).sum()

    def objectives(self, step: int, images: Tensor, labels: Tensor, seed: int) -> Iterator[Objective]:
        """One a student, with random numbers of its own; coupled: their sum."""
        if not self.method.independent:
            torch.manual_seed(seed)
            moving = [parameter for _, head in self.students() for parameter in head.parameters()]
            yield Objective("", moving, self.loss(step, images, labels))
            return
        features, teacher = self._teacher(images, labels)
        for index, name in self.places:
            head = self.model.head(index, name)
            torch.manual_seed(seed_of(seed, index, name))
            yield Objective(f"exit{index + 1} {name}", list(head.parameters()), teacher.loss(head(features[index])))

    def _teacher(self, images: Tensor, labels: Tensor) -> tuple[list[Tensor], Teacher]:
        with torch.no_grad():
            features = self.model.forward_features(images)
            answer = self.model.reference(features[self.model.spec.reference[0]])
        targets = thin_labels(labels, self.ignore, self.schedule.loss_stride)
        teacher = Teacher(answer, targets, self.weights, self.alpha, self.method.variant, self.method.temperature)
        return features, teacher


def student_places(spec: ModelSpec, method: TrainingMethod) -> list[HeadPlace]:
    """Heads that stage 2 trains, in the spec's order; the full network's where it has no pupils and is no given one."""
    kept = None if method.variant == "labels" and method.scheme != "none" else spec.reference
    return [
        (index, name)
        for index, names in enumerate(spec.heads)
        for position, name in enumerate(names)
        if (index, position) != kept
    ]


def groups_of(places: Sequence[HeadPlace], size: int) -> list[tuple[HeadPlace, ...]]:
    """`places` in groups of at most `size` (0: one group)."""
    step = size or max(1, len(places))
    return [tuple(places[start : start + step]) for start in range(0, len(places), step)]
