"""Does the measuring protocol find the true ratio of two models on a disturbed clock? 100 seeded trials a climate.

The clock is the emulated phone's own: device_profiler/emulator/rehearsal.py. Run: python benchmarks/profiler/trials.py
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median

import msgspec

from device_profiler.emulator.trials import CLIMATES, Climate, Trial, run_trials
from device_profiler.files import write_atomic

RESULTS = Path(__file__).parent / "results" / "trials.json"


class Summary(msgspec.Struct, frozen=True):
    """One climate: in how many trials the 95 % interval held the truth, how wide it was, and what was voided.

    `error`: median deviation of the ratio from the truth; `width`: mean width of the interval; both relative.
    """

    climate: str
    trials: int
    holding: int
    without_figure: int
    error: float
    width: float
    launches: float
    void_share: float
    waited_s: float
    failures: tuple[Trial, ...]


def main() -> None:
    """Run, print, write results/trials.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100)
    arguments = parser.parse_args()
    summaries = [summary(climate, run_trials(climate, range(arguments.trials))) for climate in CLIMATES]
    for one in summaries:
        print(
            f"{one.climate:<12} {one.holding} of {one.trials} hold, {one.without_figure} without a figure; "
            f"error {one.error:.2%}, width {one.width:.2%}; {one.launches:.1f} launches, {one.void_share:.0%} void"
        )
    write_atomic(RESULTS, msgspec.json.format(msgspec.json.encode(summaries), indent=1) + b"\n")


def summary(climate: Climate, trials: Sequence[Trial]) -> Summary:
    """The figures of one climate."""
    told = [trial for trial in trials if trial.ratio is not None]
    return Summary(
        climate.name,
        len(trials),
        sum(trial.holds for trial in trials),
        len(trials) - len(told),
        error=round(median(abs((trial.ratio or 0.0) / trial.truth - 1) for trial in told), 5),
        width=round(fmean(((trial.high or 0.0) - (trial.low or 0.0)) / trial.truth for trial in told), 5),
        launches=round(fmean(trial.launches for trial in trials), 2),
        void_share=round(sum(trial.void for trial in trials) / max(1, sum(trial.blocks for trial in trials)), 4),
        waited_s=round(fmean(trial.waited_s for trial in trials), 1),
        failures=tuple(trial for trial in trials if not trial.holds),
    )


if __name__ == "__main__":
    main()
