"""Risk certificates: p-values, sample counts, the path, and that the promise holds over a thousand draws."""

import math
from dataclasses import replace

import numpy as np
import pytest

from device_profiler.errors import InputError, VerificationError
from pipeline.certificate import (
    binomial_cdf,
    certify,
    conformal_risk,
    error_increase,
    learn_then_test,
    needed_images,
    p_value,
    threshold_path,
)
from pipeline.exact_search.configuration import Configuration
from pipeline.exact_search.evaluate import routes
from pipeline.exit_statistics import ExitStatistics
from pipeline.promise import Promise


def cascade(images: int, seed: int, *, early_error: float = 0.1) -> ExitStatistics:
    """Two exits, 100 pixels an image, two classes: the early exit is worse where it is unsure."""
    generator = np.random.default_rng(seed)
    confidence = np.zeros((2, 1, images), dtype=np.float32)
    confidence[0, 0] = generator.random(images)
    wrong = np.zeros((2, 1, images), dtype=np.int64)
    wrong[0, 0] = generator.binomial(100, early_error * (1 - confidence[0, 0].astype(float)))
    right = 100 - wrong
    intersection = np.stack([right // 2, right - right // 2], axis=-1)
    # Each wrong pixel is in the union of two classes.
    union = intersection + wrong[..., None]
    return ExitStatistics(
        confidence=confidence,
        intersection=intersection,
        union=union,
        exits=("exit1", "exit2"),
        heads=(("fcn",), ("fcn",)),
        classes=("a", "b"),
        images=tuple(f"{seed}-{i}" for i in range(images)),
        reference=(1, 0),
        policy="mean",
    )


CHOICE = Configuration("adaptive", (0, 1), ("fcn", "fcn"), (0.25,))


def test_sample_counts_of_the_method() -> None:
    assert needed_images(0.02, 0.05) == 149
    assert needed_images(0.02, 0.05, risk=0.01) == 961
    assert p_value(0.01, 961, 0.02) <= 0.05
    assert p_value(0.0, 148, 0.02) > 0.05
    assert needed_images(0.02, 0.05, method="crc") == 49


def test_binomial_cdf_against_exact_sums() -> None:
    for trials, probability in ((10, 0.3), (200, 0.02)):
        for successes in (0, 1, 5, trials - 1):
            exact = sum(
                math.comb(trials, k) * probability**k * (1 - probability) ** (trials - k) for k in range(successes + 1)
            )
            assert binomial_cdf(successes, trials, probability) == pytest.approx(exact, rel=1e-9)
    assert binomial_cdf(10, 10, 0.3) == 1.0


def test_p_value_falls_with_images_and_is_1_at_the_bound() -> None:
    values = [p_value(0.01, n, 0.02) for n in (100, 400, 1600)]
    assert values == sorted(values, reverse=True)
    assert p_value(0.02, 10**4, 0.02) == 1.0
    assert p_value(0.5, 100, 0.02) == 1.0


def test_per_image_error_counts_wrong_pixels() -> None:
    statistics = cascade(50, 0)
    everyone_early = Configuration("adaptive", (0, 1), ("fcn", "fcn"), (0.0,))
    pixels = (statistics.union[0, 0].sum(axis=1) - statistics.intersection[0, 0].sum(axis=1)) / 2
    np.testing.assert_allclose(error_increase(statistics, everyone_early), pixels / 100)
    assert error_increase(statistics, Configuration("adaptive", (1,), ("fcn",))).max() == 0


def test_path_runs_from_never_to_the_choice() -> None:
    statistics = cascade(400, 1)
    path = threshold_path(statistics, CHOICE, 10)
    leaving = [int((routes(statistics, step) == 0).sum()) for step in path]
    assert leaving[0] == 0
    assert leaving == sorted(leaving)
    assert path[-1] == CHOICE
    assert leaving[5] == pytest.approx(leaving[-1] / 2, abs=2)


@pytest.mark.parametrize("method", ["ltt", "crc"])
def test_a_choice_that_is_safe_is_certified_as_it_is(method: str) -> None:
    certified, certificate = certify(
        cascade(300, 2, early_error=0.01), cascade(1000, 3, early_error=0.01), CHOICE, Promise(0.02, method=method)
    )
    assert certified == CHOICE
    assert not certificate.raised
    assert certificate.risk < 0.02
    assert (certificate.delta is None) == (method == "crc")


@pytest.mark.parametrize("method", ["ltt", "crc"])
def test_a_risky_choice_gets_higher_thresholds(method: str) -> None:
    held_out = cascade(1000, 5, early_error=0.2)
    certified, certificate = certify(
        cascade(300, 4, early_error=0.2), held_out, CHOICE, Promise(0.02, 0.05, method)
    )
    assert certificate.raised
    assert certified.thresholds[0] > CHOICE.thresholds[0]
    assert certificate.thresholds == certified.thresholds
    assert error_increase(held_out, certified).mean() == certificate.risk <= 0.02
    assert certificate.search_split != certificate.certify_split


def test_too_few_images_say_how_many_are_needed() -> None:
    with pytest.raises(VerificationError, match=r"needs 149 .* 49 are missing"):
        certify(cascade(300, 6), cascade(100, 7), CHOICE, Promise(0.02))


def test_a_cascade_without_the_full_network_may_be_beyond_rescue() -> None:
    shallow = Configuration("budgeted", (0,), ("fcn",))
    with pytest.raises(VerificationError, match="even if no image leaves early"):
        certify(cascade(300, 8, early_error=0.5), cascade(500, 9, early_error=0.5), shallow, Promise(0.02))


def test_bad_promises() -> None:
    split, other = cascade(300, 10), cascade(300, 11)
    with pytest.raises(InputError, match="in both splits"):
        certify(split, replace(other, images=split.images), CHOICE, Promise(0.02))
    with pytest.raises(InputError, match="between 0 and 1"):
        Promise(1.5)
    with pytest.raises(InputError, match="choose one of ltt, crc"):
        Promise(0.02, method="hope")
    with pytest.raises(InputError, match=r"left \[0, 1\]"):
        certify(split, other, CHOICE, Promise(0.02), loss=lambda statistics, _: np.full(len(statistics.images), 2.0))


def test_the_hardest_case_is_accepted_at_most_delta_of_the_time() -> None:
    """Losses of 0 and 1 whose risk is epsilon itself: every acceptance is a violation."""
    draws, epsilon, delta = 1000, 0.05, 0.1
    generator = np.random.default_rng(15)
    bold = (generator.random((draws, 200)) < epsilon).astype(float)
    rate = np.mean([p_value(float(row.mean()), 200, epsilon) <= delta for row in bold])
    assert 0 < rate <= delta + 2 * math.sqrt(delta * (1 - delta) / draws)


def test_promises_hold_over_a_thousand_draws() -> None:
    draws, images, epsilon, delta = 1000, 250, 0.02, 0.05
    population = cascade(20_000, 12, early_error=0.15)
    path = threshold_path(cascade(300, 13, early_error=0.15), CHOICE, 20)
    losses = np.array([error_increase(population, step) for step in path])
    true_risk = losses.mean(axis=1)
    generator = np.random.default_rng(14)
    violated, conformal = 0, []
    for _ in range(draws):
        sample = losses[:, generator.integers(0, losses.shape[1], images)]
        tested = learn_then_test(sample, epsilon, delta)
        violated += tested is not None and true_risk[tested] > epsilon
        controlled = conformal_risk(sample, epsilon)
        conformal.append(0.0 if controlled is None else true_risk[controlled])
    error = math.sqrt(delta * (1 - delta) / draws)
    assert violated / draws <= delta + 2 * error
    assert np.mean(conformal) <= epsilon
    assert true_risk[-1] > epsilon  # the search's own choice breaks the promise: there is something to control
