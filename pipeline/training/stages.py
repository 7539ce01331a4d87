"""The two stages: which parameters move, and the loss of one batch."""

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor, nn

from pipeline.data.source import DataSource
from pipeline.heads import parse_head
from pipeline.model import ModelSpec, MultiExitModel
from pipeline.training.losses import Teacher, class_weights, segmentation_loss, thin_labels
from pipeline.training.schedule import StageSchedule, TrainingSchedule


class Stage(Protocol):
    """One stage of training."""

    number: int
    title: str
    schedule: StageSchedule

    def prepare(self) -> None:
        """Set every part of the model to train or to stand still."""

    def parameter_groups(self) -> list[dict[str, object]]:
        """Parameters that move, with their learning rates."""

    def loss(self, step: int, images: Tensor, labels: Tensor) -> Tensor:
        """Loss of one batch: images [B, 3, H, W] in 0..255, labels int64 [B, H, W] as in the masks."""


def plain_head(spec: ModelSpec, exit_index: int) -> str:
    """The head that stands for an exit in stage 1: its least reduced FCN head, else its first head.

    At the last exit it is the full network's head.
    """
    if exit_index == spec.reference[0]:
        return spec.reference_head
    names = spec.heads[exit_index]
    plain = [name for name in names if parse_head(name).kind == "fcn"]
    return min(plain, key=lambda name: parse_head(name).reduction) if plain else names[0]


class ExitDropout:
    """Stage 1: backbone and full network end to end, with one early exit a step in turn, the others dropped.

    L_j = CE(y_{1 + j mod (N-1)}, t) + CE(y_N, t): exit-aware pre-training after MESS (arXiv 2106.03527).
    """

    number = 1
    title = "stage 1: backbone with exit dropout"

    def __init__(self, model: MultiExitModel, source: DataSource, schedule: TrainingSchedule) -> None:
        self.model = model
        self.schedule = schedule.exit_dropout
        self.ignore = source.classes.ignore
        self.weights = class_weights(source.train, len(source.classes), self.ignore, schedule.class_weight_power)
        self.last = model.spec.reference[0]
        self.heads = [model.head(index, plain_head(model.spec, index)) for index in range(len(model.blocks))]

    def prepare(self) -> None:
        """Everything that this stage uses is trained; the other heads wait for stage 2."""
        self.model.requires_grad_(False).eval()
        for part in (self.model.blocks, *self.heads):
            part.requires_grad_(True).train()

    def parameter_groups(self) -> list[dict[str, object]]:
        """The backbone at its own, lower rate."""
        heads = [parameter for head in self.heads for parameter in head.parameters()]
        return [
            {"params": list(self.model.blocks.parameters()), "lr": self.schedule.backbone_rate},
            {"params": heads, "lr": self.schedule.head_rate},
        ]

    def loss(self, step: int, images: Tensor, labels: Tensor) -> Tensor:
        """Cross entropy at one early exit and at the last."""
        features = self.model.forward_features(images)
        targets = thin_labels(labels, self.ignore, self.schedule.loss_stride)
        early = [index for index in range(len(self.heads)) if index != self.last]
        active = [early[step % len(early)]] if early else []
        losses = [segmentation_loss(self.heads[i](features[i]), targets, self.weights) for i in [*active, self.last]]
        return torch.stack(losses).sum()


class Distillation:
    """Stage 2: all other heads of all exits from one pass through the frozen backbone, taught by the full network."""

    number = 2
    title = "stage 2: heads, taught by the last exit"

    def __init__(self, model: MultiExitModel, source: DataSource, schedule: TrainingSchedule) -> None:
        self.model = model
        self.schedule = schedule.distillation
        self.alpha = schedule.distillation_alpha
        self.ignore = source.classes.ignore
        self.weights = class_weights(source.train, len(source.classes), self.ignore, schedule.class_weight_power)

    def students(self) -> Iterator[tuple[int, nn.Module]]:
        """Exit index and head of everything that learns here."""
        for index, names in enumerate(self.model.spec.heads):
            for position, name in enumerate(names):
                if (index, position) != self.model.spec.reference:
                    yield index, self.model.head(index, name)

    def prepare(self) -> None:
        """Backbone and full network stand still, BatchNorm statistics included."""
        self.model.requires_grad_(False).eval()
        for _, head in self.students():
            head.requires_grad_(True).train()

    def parameter_groups(self) -> list[dict[str, object]]:
        """One group: the students."""
        moving = [parameter for _, head in self.students() for parameter in head.parameters()]
        return [{"params": moving, "lr": self.schedule.head_rate}]

    def loss(self, step: int, images: Tensor, labels: Tensor) -> Tensor:
        """Sum of the students' losses; they share no parameter, so each learns from its own alone."""
        with torch.no_grad():
            features = self.model.forward_features(images)
            answer = self.model.reference(features[self.model.spec.reference[0]])
        targets = thin_labels(labels, self.ignore, self.schedule.loss_stride)
        teacher = Teacher(answer, targets, self.weights, self.alpha)
        return torch.stack([teacher.loss(head(features[index])) for index, head in self.students()]).sum()
