"""Do certificates hold? Violations over many simulated draws of the certify split, for several promises.

A population of images stands for the world; each draw certifies on a few of them, and the promise is checked on all.
Run: python benchmarks/search/certificates.py.
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np
from tables import random_tables

from pipeline.certificate import conformal_risk, error_increase, learn_then_test, threshold_path
from pipeline.exact_search.configuration import Configuration
from pipeline.exit_statistics import ExitStatistics

POPULATION, SEARCH_IMAGES = 20_000, 300
PROMISES = ((0.02, 0.05, 200), (0.02, 0.05, 1000), (0.05, 0.05, 200), (0.05, 0.1, 100), (0.1, 0.05, 100))


def subset(statistics: ExitStatistics, images: slice) -> ExitStatistics:
    """Some of the images."""
    return ExitStatistics(
        confidence=statistics.confidence[:, :, images],
        intersection=statistics.intersection[:, :, images],
        union=statistics.union[:, :, images],
        exits=statistics.exits,
        heads=statistics.heads,
        classes=statistics.classes,
        images=statistics.images[images],
        reference=statistics.reference,
        policy=statistics.policy,
    )


def cascade_to_full_network(search_split: ExitStatistics) -> Configuration:
    """All exits, the full network last, half of the images leaving at each: too bold for most of the promises."""
    exits = range(len(search_split.exits))
    last = search_split.reference
    middle = tuple(float(np.float32(np.median(search_split.confidence[e, 0]))) for e in exits[:-1])
    heads = (*(search_split.heads[e][0] for e in exits[:-1]), search_split.heads[last[0]][last[1]])
    return Configuration("adaptive", tuple(exits), heads, middle)


def hardest_case(promise: tuple[float, float, int], draws: int) -> dict[str, float | bool]:
    """Losses that are 0 or 1 (the largest variance) and a step whose risk is epsilon itself: accepting it violates."""
    epsilon, delta, images = promise
    generator = np.random.default_rng(2)
    violations = 0
    for _ in range(draws):
        bold = (generator.random(images) < epsilon).astype(np.float64)
        violations += learn_then_test(np.array([np.zeros(images), bold]), epsilon, delta) == 1
    error = math.sqrt(delta * (1 - delta) / draws)
    rate = violations / draws
    return {"epsilon": epsilon, "delta": delta, "images": images, "rate": rate, "holds": rate <= delta + 2 * error}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "certificates.json")
    options = parser.parse_args()
    everything, _ = random_tables(3, 2, POPULATION + SEARCH_IMAGES, 5)
    search_split = subset(everything, slice(0, SEARCH_IMAGES))
    world = subset(everything, slice(SEARCH_IMAGES, None))
    choice = cascade_to_full_network(search_split)
    losses = np.array([error_increase(world, step) for step in threshold_path(search_split, choice, 50)])
    true_risk = losses.mean(axis=1)
    rows = []
    for epsilon, delta, images in PROMISES:
        generator = np.random.default_rng(1)
        violations, certified, controlled = 0, 0, []
        for _ in range(options.draws):
            sample = losses[:, generator.integers(0, POPULATION, images)]
            step = learn_then_test(sample, epsilon, delta)
            certified += step is not None
            violations += step is not None and bool(true_risk[step] > epsilon)
            step = conformal_risk(sample, epsilon)
            controlled.append(0.0 if step is None else float(true_risk[step]))
        error = math.sqrt(delta * (1 - delta) / options.draws)
        rows.append(
            {
                "epsilon": epsilon,
                "delta": delta,
                "images": images,
                "ltt_certified_share": certified / options.draws,
                "ltt_violation_rate": violations / options.draws,
                "binomial_error": error,
                "ltt_holds": violations / options.draws <= delta + 2 * error,
                "crc_mean_risk": float(np.mean(controlled)),
                "crc_holds": bool(np.mean(controlled) <= epsilon),
            }
        )
        print(rows[-1], flush=True)
    hardest = [hardest_case(promise, options.draws) for promise in PROMISES]
    content = {
        "draws": options.draws,
        "hardest_case": hardest,
        "risk_of_the_search's_choice": float(true_risk[-1]),
        "promises": rows,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
