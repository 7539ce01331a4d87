"""Example images of a deployment: easy ones that left early and hard ones that went on, with every mask on the way."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from device_profiler.workload import Array
from mobile_export.boundary import to_real
from mobile_export.session import HostSession, real_confidence
from pipeline.data.source import Sample
from pipeline.deployment import Deployment
from pipeline.evaluation import label_map, resized_labels, to_images
from pipeline.exit_statistics import ExitStatistics
from pipeline.model import MultiExitModel
from pipeline.policy import Finish
from pipeline.run_report import Example, ExampleStep, encode_confidence, encode_labels, encode_photo
from pipeline.shipping import Shipment, network_image, stored_image

PER_EXIT = 3


def examples(deployment: Deployment) -> tuple[Example, ...]:
    """A few test images for every selected exit: the one it does best on, one in the middle, and its worst."""
    shipment, learned = deployment.winner.shipment, deployment.learned
    network = _Network(learned.model, best_heads(learned.statistics.test))
    chosen = [i for n in range(len(shipment.plan.stages)) for i in _picked(deployment, n)]
    with HostSession(shipment.file, shipment.artifact.runtime) as session:
        return tuple(_example(deployment, _Shipped(shipment, session), network, index) for index in chosen)


def best_heads(statistics: ExitStatistics) -> tuple[int, ...]:
    """The head with the highest mIoU of every exit."""
    return tuple(
        max((h for h, name in enumerate(names) if name), key=lambda h: statistics.miou(e, h))
        for e, names in enumerate(statistics.heads)
    )


def _picked(deployment: Deployment, position: int) -> list[int]:
    answers = deployment.proof.answers
    here = np.flatnonzero(answers.exits == position)
    if not len(here):
        return []
    quality = answers.intersection[here].sum(axis=1) / answers.union[here].sum(axis=1)
    ordered = here[np.argsort(-quality, kind="stable")]
    places = np.linspace(0, len(ordered) - 1, min(PER_EXIT, len(ordered))).astype(int)
    return [int(ordered[place]) for place in places]


@dataclass(frozen=True)
class _Said:
    """What one exit says about an image: labels [H, W], confidence, logits [C, h, w] (None: the program keeps them)."""

    labels: Array
    confidence: float | None
    logits: NDArray[np.float32] | None


@dataclass(frozen=True)
class _Shipped:
    """The shipped file, run stage by stage."""

    shipment: Shipment
    session: HostSession

    def say(self, image: Array, left: int) -> list[_Said]:
        """What every stage up to position `left` says of an image as the first stage stores it."""
        said, value = [], image
        for n in range(left + 1):
            outputs = self.session.run(self.shipment.plan.stages[n], (value,))
            said.append(self._read(n, outputs))
            value = outputs[0]
        return said

    def _read(self, n: int, outputs: tuple[Array, ...]) -> _Said:
        plan, artifact = self.shipment.plan, self.shipment.artifact
        if n == len(plan.stages) - 1:
            return _Said(outputs[0], None, None)
        ports = artifact.entry(plan.stages[n]).outputs
        (labels,) = self.session.run(plan.finish[n], (outputs[1],))
        return _Said(labels, real_confidence(outputs[2], ports[2].quantization), to_real(ports[1], outputs[1])[0])


@dataclass(frozen=True)
class _Network:
    """The fp32 network as trained; `best`: its best head by exit."""

    model: MultiExitModel
    best: tuple[int, ...]

    @torch.inference_mode()
    def logits(self, image: NDArray[np.uint8]) -> list[list[torch.Tensor]]:
        """Logits [1, C, h, w] by exit and head, of an image uint8 [H, W, 3]."""
        found: list[list[torch.Tensor]] = self.model(to_images(image[None]))
        return found

    def labels(self, logits: torch.Tensor) -> Array:
        """The label map [1, H, W], enlarged as deployed."""
        labels: Array = Finish(self.model.spec.size)(logits).numpy()
        return labels


def _example(deployment: Deployment, shipped: _Shipped, network: _Network, index: int) -> Example:
    source, shipment = deployment.network.source, shipped.shipment
    sample, ignore = source.test[index], source.classes.ignore
    left = int(deployment.proof.answers.exits[index])
    said = shipped.say(stored_image(shipment.artifact, shipment.plan, source.test, index), left)
    logits = network.logits(network_image(shipment.artifact, shipment.plan, source.test, index))
    return Example(
        name=sample.id,
        photo=encode_photo(sample.image),
        truth=encode_labels(_truth(sample, ignore)),
        steps=tuple(_step(shipment, n, one, logits, network.model, sample, ignore) for n, one in enumerate(said)),
        others=_others(network, logits, shipment.configuration.exits[: left + 1], sample, ignore),
    )


def _step(
    shipment: Shipment,
    n: int,
    said: _Said,
    logits: Sequence[Sequence[torch.Tensor]],
    model: MultiExitModel,
    sample: Sample,
    ignore: int,
) -> ExampleStep:
    configuration, labels = shipment.configuration, label_map(said.labels, sample.image)
    e, last = configuration.exits[n], n == len(shipment.plan.stages) - 1
    own = said.logits
    fp32 = logits[e][model.spec.heads[e].index(configuration.heads[n])][0].numpy()
    return ExampleStep(
        exit=e,
        confidence=said.confidence,
        threshold=None if last or configuration.setting == "anytime" else shipment.plan.thresholds[n],
        mask=encode_labels(labels),
        agreement=_agreement(labels, sample, ignore),
        confidence_map=encode_confidence(top_probability(fp32 if own is None else own)),
        map_by="fp32 network" if own is None else "shipped file",
    )


def _others(
    network: _Network,
    logits: Sequence[Sequence[torch.Tensor]],
    visited: Sequence[int],
    sample: Sample,
    ignore: int,
) -> tuple[ExampleStep, ...]:
    """What the candidate exits that the image did not visit would have said."""
    steps = []
    for e in (e for e in range(len(logits)) if e not in visited):
        labels = label_map(network.labels(logits[e][network.best[e]]), sample.image)
        agreement = _agreement(labels, sample, ignore)
        steps.append(
            ExampleStep(exit=e, confidence=None, threshold=None, mask=encode_labels(labels), agreement=agreement)
        )
    return tuple(steps)


def top_probability(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Top-1 softmax probability [h, w] of logits [C, h, w]."""
    powers = np.exp(logits - logits.max(axis=0, keepdims=True))
    return np.asarray(powers.max(axis=0) / powers.sum(axis=0), dtype=np.float32)


def _agreement(labels: NDArray[np.int64], sample: Sample, ignore: int) -> float:
    counted = sample.mask != ignore
    right = resized_labels(labels, sample.mask.shape) == sample.mask
    return float(right[counted].mean()) if counted.any() else 1.0


def _truth(sample: Sample, ignore: int) -> NDArray[np.int64]:
    """The mask at the image's size, as the gallery shows it."""
    mask = resized_labels(sample.mask, sample.image.shape[:2]).astype(np.int64)
    return np.where(mask == ignore, 255, mask)
