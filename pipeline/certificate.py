"""Risk-controlled thresholds: chosen on the search split, certified on the certify split.

The thresholds move on a one-dimensional path, from never leaving early down to the search's choice; the path is fixed
before the certify split is looked at. The risk is a per-image loss in [0, 1] against the full network. After
Angelopoulos et al., "Learn then Test" (2021) and "Conformal Risk Control" (2022); for early exits Jazbec et al.,
"Fast yet Safe" (NeurIPS 2024).
"""

import math
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from device_profiler.errors import InputError, VerificationError
from device_profiler.files import sha256_bytes
from mobile_export.manifest import Certificate
from pipeline.exact_search.configuration import Configuration
from pipeline.exact_search.evaluate import head_indices, routes
from pipeline.exact_search.uncertainty import miou_gap_interval
from pipeline.exit_statistics import ExitStatistics
from pipeline.promise import Promise

ERROR_INCREASE = "increase of the share of wrong pixels over the full network, per image"
STEPS = 50
LEAVE_NEVER = 2.0  # above every confidence

# [I] loss of every image under a configuration, each in [0, 1].
Loss = Callable[[ExitStatistics, Configuration], NDArray[np.float64]]


def certify(
    search_split: ExitStatistics,
    certify_split: ExitStatistics,
    configuration: Configuration,
    promise: Promise,
    *,
    steps: int = STEPS,
    loss: Loss | None = None,
    loss_name: str = ERROR_INCREASE,
) -> tuple[Configuration, Certificate]:
    """The configuration with the lowest thresholds on the path that the certify split supports, and its certificate.

    loss: by default the increase of the per-image error over the full network (`error_increase`).
    Raises InputError for splits that share images; VerificationError where the images are too few (says how many are
    needed) or the risk is too high at every step.
    """
    _check_splits(search_split, certify_split, configuration)
    check_enough(len(certify_split.images), promise)
    path = threshold_path(search_split, configuration, steps)
    losses = path_losses(certify_split, path, error_increase if loss is None else loss)
    chosen = boldest_step(losses, promise)
    if chosen is None:
        raise VerificationError(_too_risky(losses[0], promise))
    certified = path[chosen]
    risk = float(losses[chosen].mean())
    return certified, Certificate(
        method=promise.method,
        epsilon=promise.epsilon,
        delta=promise.delta if promise.method == "ltt" else None,
        loss=loss_name,
        images=len(certify_split.images),
        risk=risk,
        p_value=p_value(risk, losses.shape[1], promise.epsilon) if promise.method == "ltt" else None,
        thresholds=certified.thresholds,
        raised=certified != configuration,
        steps=len(path),
        search_split=split_hash(search_split),
        certify_split=split_hash(certify_split),
        miou_gap=miou_gap_interval(certify_split, certified),
    )


def certificate_text(certificate: Certificate) -> str:
    """What was promised and what was seen, in one line."""
    sure = f"with probability {1 - certificate.delta:g}" if certificate.delta else "in expectation"
    raised = "thresholds raised for it" if certificate.raised else "the search's own thresholds"
    return (
        f"{certificate.loss}: at most {certificate.epsilon} {sure}; {certificate.risk:.4f} on {certificate.images} "
        f"images kept for it ({raised})"
    )


def threshold_path(search_split: ExitStatistics, configuration: Configuration, steps: int) -> list[Configuration]:
    """From the safest configuration (no image leaves early) to the given one, thresholds falling together.

    Step s of n keeps the share s / n of the images that the search split lets leave at each threshold.
    """
    heads = head_indices(search_split, configuration)
    early = list(zip(configuration.exits, heads, configuration.thresholds, strict=False))
    path = []
    for share in np.linspace(0, 1, steps + 1)[:-1]:
        thresholds = tuple(_raised(search_split.confidence[e, h], threshold, share) for e, h, threshold in early)
        path.append(msgspec.structs.replace(configuration, thresholds=thresholds))
    return [*path, configuration] if early else [configuration]


def error_increase(statistics: ExitStatistics, configuration: Configuration) -> NDArray[np.float64]:
    """[I] how much the share of wrong pixels rises against the full network (0 where it falls).

    Pixels of an image: (sum of unions + sum of intersections) / 2, as labels and predictions cover the same pixels.
    """
    heads = np.array(head_indices(statistics, configuration))
    position, images = routes(statistics, configuration), np.arange(len(statistics.images))
    chosen = (np.array(configuration.exits)[position], heads[position], images)
    routed = _wrong_share(statistics.intersection[chosen], statistics.union[chosen])
    full = _wrong_share(statistics.intersection[statistics.reference], statistics.union[statistics.reference])
    return np.maximum(routed - full, 0.0)


def path_losses(statistics: ExitStatistics, path: Sequence[Configuration], loss: Loss) -> NDArray[np.float64]:
    """[steps, n] losses of every image at every step. Raises InputError where one leaves [0, 1]."""
    losses = np.array([loss(statistics, step) for step in path])
    if not ((losses >= 0) & (losses <= 1)).all():
        raise InputError("a loss left [0, 1]: risk control needs a bounded loss")
    return losses


def boldest_step(losses: NDArray[np.float64], promise: Promise, images: int | None = None) -> int | None:
    """The last step of the path that the promise's method accepts; None: not even the first.

    images: how many the certificate will have, where these losses are another split's and only foretell it.
    """
    if promise.method == "ltt":
        return learn_then_test(losses, promise.epsilon, promise.delta, images)
    return conformal_risk(losses, promise.epsilon, images)


def learn_then_test(
    losses: NDArray[np.float64], epsilon: float, delta: float, images: int | None = None
) -> int | None:
    """Last step of the path before the first whose p-value exceeds delta (fixed-sequence testing); None: the first.

    losses: [steps, n], steps from the safest on. images: counted instead of n.
    """
    accepted = None
    for step, row in enumerate(losses):
        if p_value(float(row.mean()), images or len(row), epsilon) > delta:
            break
        accepted = step
    return accepted


def conformal_risk(losses: NDArray[np.float64], epsilon: float, images: int | None = None) -> int | None:
    """Last step whose mean loss is at most ((n + 1) epsilon - 1) / n; `images` is counted instead of n.

    The theory wants losses that never fall along the path: each image's is replaced by its highest so far.
    """
    count = images or losses.shape[1]
    means = np.maximum.accumulate(losses, axis=0).mean(axis=1)
    accepted = np.flatnonzero(means <= ((count + 1) * epsilon - 1) / count)
    return int(accepted[-1]) if len(accepted) else None


def p_value(risk: float, images: int, epsilon: float) -> float:
    """Hoeffding-Bentkus p-value of 'the true risk exceeds epsilon', given the mean loss of `images` draws."""
    hoeffding = math.exp(-images * _relative_entropy(min(risk, epsilon), epsilon))
    # A sum that is whole but for float64's error must not count as one more.
    successes = math.ceil(images * risk - 1e-9)
    return min(1.0, hoeffding, math.e * binomial_cdf(successes, images, epsilon))


def needed_images(epsilon: float, delta: float, *, risk: float = 0.0, method: str = "ltt") -> int:
    """How many certify images a promise needs if their mean loss is `risk` (below epsilon).

    For ltt the count from which Hoeffding's part of the p-value suffices; Bentkus' part may accept a few less.
    """
    assert 0 <= risk < epsilon, "no number of images makes a promise below the risk itself"
    if method == "crc":
        return math.ceil((1 - epsilon) / (epsilon - risk) - 1e-9)
    return math.ceil(math.log(1 / delta) / _relative_entropy(risk, epsilon) - 1e-9)


def binomial_cdf(successes: int, trials: int, probability: float) -> float:
    """P(X <= successes) for X ~ Binomial(trials, probability), 0 < probability < 1."""
    if successes >= trials:
        return 1.0
    log_odds = math.log(probability) - math.log1p(-probability)
    log_term = trials * math.log1p(-probability)
    terms = [math.exp(log_term)]
    for k in range(1, successes + 1):
        log_term += math.log(trials - k + 1) - math.log(k) + log_odds
        terms.append(math.exp(log_term))
    return min(1.0, math.fsum(terms))


def split_hash(statistics: ExitStatistics) -> str:
    """SHA-256 of a split as the search saw it: image names, confidences, intersections and unions."""
    arrays = (statistics.confidence, statistics.intersection, statistics.union)
    return sha256_bytes("\n".join(statistics.images).encode(), *(array.tobytes() for array in arrays))


def _raised(confidence: NDArray[np.float32], threshold: float, share: float) -> float:
    """A float32 threshold at which this share of the images that leave at `threshold` still leaves."""
    leaving = np.sort(confidence[confidence >= np.float32(threshold)])[::-1]
    keep = int(share * len(leaving))
    if keep == 0:
        return LEAVE_NEVER
    if keep == len(leaving):
        return threshold
    middle = np.float32((float(leaving[keep - 1]) + float(leaving[keep])) / 2)
    return float(max(middle, np.float32(threshold)))


def _wrong_share(intersection: NDArray[np.int64], union: NDArray[np.int64]) -> NDArray[np.float64]:
    """[I] share of an image's pixels that are labelled wrongly; arrays [I, C]."""
    right = intersection.sum(axis=1).astype(np.float64)
    pixels = (union.sum(axis=1) + right) / 2
    return np.asarray(1 - right / np.maximum(pixels, 1))


def _relative_entropy(a: float, b: float) -> float:
    """KL divergence between Bernoulli(a) and Bernoulli(b), a <= b."""
    first = a * math.log(a / b) if a > 0 else 0.0
    return first + (1 - a) * math.log((1 - a) / (1 - b))


def check_enough(images: int, promise: Promise) -> None:
    """Raises VerificationError where so few images can't carry the promise even at no observed risk."""
    needed = needed_images(promise.epsilon, promise.delta, method=promise.method)
    if images < needed:
        raise VerificationError(
            f"the certify split has {images} images, {promise} needs {needed} even at no observed risk: "
            f"{needed - images} are missing; bring more images, or promise less"
        )


def _check_splits(search_split: ExitStatistics, certify_split: ExitStatistics, configuration: Configuration) -> None:
    if configuration.setting == "anytime":
        raise InputError("an anytime configuration has no thresholds to certify: choose adaptive or budgeted")
    if (search_split.heads, search_split.exits) != (certify_split.heads, certify_split.exits):
        raise InputError("search and certify split have different exits or heads: they must come from one network")
    shared = sorted(set(search_split.images) & set(certify_split.images))
    if shared:
        raise InputError(f"{len(shared)} images are in both splits ({shared[0]}, ...): certify on images of its own")


def _too_risky(safest: NDArray[np.float64], promise: Promise) -> str:
    """Why not even the safest step was accepted, and how many images would have sufficed."""
    risk, images = float(np.mean(safest)), len(safest)
    start = f"the mean loss is {risk:.4f} on {images} certify images even if no image leaves early"
    if risk >= promise.epsilon:
        return f"{start}, above the promised {promise.epsilon}: choose a more accurate last exit or promise less"
    needed = needed_images(promise.epsilon, promise.delta, risk=risk, method=promise.method)
    return f"{start}: too close to the promised {promise.epsilon}; about {needed} images are needed at that risk"
