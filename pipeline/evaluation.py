"""Evaluation of every exit and head on one split, from one pass per batch through the backbone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from device_profiler.errors import InputError
from pipeline.data.source import Size, Split
from pipeline.exit_statistics import ExitStatistics, mean_iou
from pipeline.model import ModelCost, ModelSpec, MultiExitModel, count_model
from pipeline.policy import Confidence, Finish
from pipeline.policy_name import DEFAULT_POLICY
from pipeline.progress import Progress

BATCH = 8
CHUNK = 4 * BATCH
"""Images that go to one of several hosts or processes at a time."""


def evaluate(
    model: MultiExitModel,
    split: Split,
    progress: Progress,
    *,
    ignore: int,
    policy: str = DEFAULT_POLICY,
    batch: int = BATCH,
) -> ExitStatistics:
    """Confidence, intersections and unions of every exit and head on every image of `split`, in fp32 eager PyTorch.

    Labels are those of the deployed finish, at the size of the input; they are compared as `overlap` says. Pixels
    labelled `ignore` never count.

    Raises:
        InputError: the split is empty, its images are not of the model's size, or the policy is unknown.
    """
    return evaluate_policies(model, split, progress, ignore=ignore, policies=(policy,), batch=batch)[0]


def evaluate_policies(
    model: MultiExitModel,
    split: Split,
    progress: Progress,
    *,
    ignore: int,
    policies: Sequence[str],
    batch: int = BATCH,
) -> tuple[ExitStatistics, ...]:
    """As `evaluate`, under each of `policies`: they share one pass and the overlaps."""
    check_split(model.spec, split)
    spec = model.spec
    counts = Counts.empty(spec, len(split))
    confidences = [counts.confidence, *(np.zeros_like(counts.confidence) for _ in policies[1:])]
    scorer = _Scorer(tuple(map(Confidence, policies)), Finish(spec.size), len(spec.classes), ignore)
    witnessed = any(confidence.parsed.asks_witness for confidence in scorer.confidences)
    model.eval()
    with torch.inference_mode(), progress.task("evaluating every exit and head", len(split)) as advance:
        for start in range(0, len(split), batch):
            stop = min(start + batch, len(split))
            images = to_images(np.asarray(split.images[start:stop]))
            masks = np.asarray(split.masks[start:stop])
            witness: Tensor | None = None
            for e, of_exit in enumerate(model(images)):
                for h, logits in enumerate(of_exit):
                    where = e, h, slice(start, stop)
                    counts.intersection[where], counts.union[where] = scorer.overlaps(logits, masks)
                    for confidence, of_policy in zip(confidences, scorer.confidences, strict=True):
                        confidence[where] = of_policy(logits, witness).numpy()
                witness = of_exit[model.cheapest[e]] if witnessed else None
            advance(stop - start, "")
    return tuple(
        replace(counts, confidence=confidence).statistics(spec, split, policy, "fp32")
        for confidence, policy in zip(confidences, policies, strict=True)
    )


def to_images(images: NDArray[np.uint8]) -> Tensor:
    """Images uint8 [N, H, W, 3] as the network takes them: float32 [N, 3, H, W] in 0..255."""
    return torch.from_numpy(images.astype(np.float32)).permute(0, 3, 1, 2)


def check_split(spec: ModelSpec, split: Split) -> None:
    """Raises InputError where the split is empty or its images are not of the network's size."""
    if not len(split):
        raise InputError(f"the split {split.name} has no images: choose another (--split), or add some to the data")
    if split.images.shape[1:3] != spec.size:
        raise InputError(f"images of size {split.images.shape[1:3]} given, the network takes {spec.size}")


def chunks(images: int) -> list[slice]:
    """A split in pieces of CHUNK images: whole batches, so that every image is computed in the batch in which a
    single host computes it."""
    return [slice(start, min(start + CHUNK, images)) for start in range(0, images, CHUNK)]


@dataclass(frozen=True, eq=False)
class Counts:
    """The numbers of `ExitStatistics` while they are being filled: confidence [E, H, I], overlaps [E, H, I, C]."""

    confidence: NDArray[np.float32]
    intersection: NDArray[np.int64]
    union: NDArray[np.int64]

    @classmethod
    def empty(cls, spec: ModelSpec, images: int) -> "Counts":
        """Zeros for every exit and head slot of a network on so many images."""
        shape = (len(spec.exits), _slots(spec), images)
        overlaps = (*shape, len(spec.classes))
        return cls(np.zeros(shape, np.float32), np.zeros(overlaps, np.int64), np.zeros(overlaps, np.int64))

    def fill(self, images: slice, found: ExitStatistics) -> None:
        """Take over what was found of some of the images."""
        self.confidence[..., images] = found.confidence
        self.intersection[..., images, :] = found.intersection
        self.union[..., images, :] = found.union

    def statistics(self, spec: ModelSpec, split: Split, policy: str, precision: str) -> ExitStatistics:
        """The filled numbers with the names that go with them."""
        return ExitStatistics(
            confidence=self.confidence,
            intersection=self.intersection,
            union=self.union,
            exits=spec.exit_names,
            heads=tuple((*names, *[""] * (_slots(spec) - len(names))) for names in spec.heads),
            classes=spec.classes,
            images=split.ids,
            reference=spec.reference,
            policy=policy,
            precision=precision,
        )


def _slots(spec: ModelSpec) -> int:
    """Head slots of every exit: as many as the exit with the most heads has."""
    return max(len(names) for names in spec.heads)


@dataclass(frozen=True)
class _Scorer:
    confidences: tuple[Confidence, ...]
    finish: Finish
    classes: int
    ignore: int

    def overlaps(
        self, logits: Tensor, masks: NDArray[np.uint8]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Intersection and union [N, C] of what logits [N, C, h, w] say with masks [N, H, W]."""
        labels = self.finish(logits)
        found = [overlap(labels[i].numpy(), masks[i], self.classes, self.ignore) for i in range(len(masks))]
        intersection, union = (np.stack(part) for part in zip(*found, strict=True))
        return intersection, union


def label_map(labels: NDArray[np.generic], image: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Labels as a runtime gives them, [1, H, W] of any integer type, as [H, W]: that of their image [H, W, 3]."""
    return labels.reshape(image.shape[:2]).astype(np.int64)


def resized_labels(labels: NDArray[Any], size: Size) -> NDArray[Any]:
    """Labels [h, w] at `size` (H, W), every pixel that of the nearest one: what an app shows of a smaller label map."""
    if labels.shape == size:
        return labels
    rows, columns = ((2 * np.arange(to) + 1) * of // (2 * to) for of, to in zip(labels.shape, size, strict=True))
    return labels[np.ix_(rows, columns)]


def overlap(
    labels: NDArray[np.integer], mask: NDArray[np.uint8], classes: int, ignore: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Intersection and union [C] in pixels of a mask [H, W] with labels of any size, taken at the mask's.

    Pixels of the mask that are `ignore` never count.
    """
    counted = mask != ignore
    predicted = resized_labels(labels, mask.shape)[counted].astype(np.int64)
    true = mask[counted].astype(np.int64)
    confusion = np.bincount(true * classes + predicted, minlength=classes * classes).reshape(classes, classes)
    intersection = np.diagonal(confusion)
    return intersection.astype(np.int64), confusion.sum(axis=0) + confusion.sum(axis=1) - intersection


def majority_class(train: Split, classes: int, ignore: int) -> int:
    """The most frequent class of `train` by pixels."""
    counts = np.zeros(256, np.int64)
    for sample in train:
        counts += np.bincount(sample.mask.ravel(), minlength=256)
    counts[ignore] = 0
    return int(counts[:classes].argmax())


def constant_miou(split: Split, answer: int, classes: int, ignore: int) -> float:
    """mIoU on `split` of answering one class at every pixel."""
    guess = np.full(split.masks.shape[1:], answer)
    overlaps = [overlap(guess, sample.mask, classes, ignore) for sample in split]
    intersection, union = (np.sum(part, axis=0) for part in zip(*overlaps, strict=True))
    return mean_iou(intersection, union)


def majority_guess(train: Split, test: Split, classes: int, ignore: int) -> float:
    """mIoU on `test` of answering the most frequent class of `train` at every pixel."""
    return constant_miou(test, majority_class(train, classes, ignore), classes, ignore)


class HeadResult(msgspec.Struct, frozen=True):
    """One single-exit network: mIoU and IoU by class (None where a class never occurs), multiply-adds of an image."""

    exit: str
    head: str
    miou: float
    class_iou: dict[str, float | None]
    macs: int
    backbone_macs: int
    head_macs: int
    reference: bool


class EvaluationReport(msgspec.Struct, frozen=True):
    """What `evaluate --json` prints."""

    split: str
    images: int
    classes: Sequence[str]
    majority_guess_miou: float
    exits: tuple[HeadResult, ...]


def summarise(
    model: MultiExitModel, statistics: ExitStatistics, split: Split, majority_guess_miou: float
) -> EvaluationReport:
    """Every exit and head of `statistics` with its accuracy and cost, in depth order."""
    cost = count_model(model)
    rows = [
        _result(statistics, cost, e, h)
        for e, names in enumerate(statistics.heads)
        for h, name in enumerate(names)
        if name
    ]
    return EvaluationReport(split.name, len(split), statistics.classes, majority_guess_miou, tuple(rows))


def _result(statistics: ExitStatistics, cost: ModelCost, e: int, h: int) -> HeadResult:
    by_class = statistics.class_iou(e, h)
    return HeadResult(
        exit=statistics.exits[e],
        head=statistics.heads[e][h],
        miou=statistics.miou(e, h),
        class_iou={
            name: None if np.isnan(iou) else float(iou) for name, iou in zip(statistics.classes, by_class, strict=True)
        },
        macs=cost.total(e, h),
        backbone_macs=sum(cost.blocks[: e + 1]),
        head_macs=cost.heads[e][h],
        reference=(e, h) == statistics.reference,
    )
