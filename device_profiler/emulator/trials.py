"""Trials of the measuring protocol on disturbed clocks: does it find the true ratio of two models?"""

import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from device_profiler.emulator.phone_profile import PhoneProfile, load_profile
from device_profiler.emulator.rehearsal import Rehearsal
from device_profiler.emulator.weather import Weather, make_weather
from device_profiler.errors import InvalidMeasurementError
from device_profiler.sampling import BLOCKS, BlockEffort, compared_series, ratio_of

_CALM_NS = (1_000_000, 8_000_000)
_RATIOS = (0.5, 2.0)
_COLD = 1.0


@dataclass(frozen=True)
class Climate:
    """How rough it gets; shares as in weather.Noise. `start_c`: None for a phone without heat."""

    name: str
    launch: float
    noise: float
    drift: float
    drift_s: float
    start_c: float | None = None
    rise_k: float = 0.0
    tau_s: float = 1.0

    def weather(self, profile: PhoneProfile, seed: int) -> Weather:
        """This climate on a phone of this kind."""
        made = make_weather(profile, seed=seed, start_c=self.start_c)
        assert made is not None and made.noise is not None
        noise = msgspec.structs.replace(
            made.noise, launch=self.launch, noise=self.noise, drift=self.drift, drift_s=self.drift_s
        )
        heat = made.heat and msgspec.structs.replace(made.heat, rise_k=self.rise_k, tau_s=self.tau_s)
        return Weather(noise, heat)


CLIMATES = (
    Climate("noise", launch=0.02, noise=0.02, drift=0.0, drift_s=1.0),
    Climate("drift", launch=0.01, noise=0.015, drift=0.08, drift_s=1.0),
    Climate("throttling", launch=0.01, noise=0.015, drift=0.0, drift_s=1.0, start_c=41.0, rise_k=30.0, tau_s=4.0),
    Climate("all", launch=0.02, noise=0.015, drift=0.06, drift_s=1.0, start_c=41.0, rise_k=30.0, tau_s=8.0),
)


class Trial(msgspec.Struct, frozen=True):
    """One session on two models of a known ratio. `ratio` and its interval are None where no figure was given.

    `void`: blocks that were measured again, of `blocks`; `waited_s`: for the phone to cool.
    """

    seed: int
    truth: float
    ratio: float | None
    low: float | None
    high: float | None
    launches: int
    blocks: int
    void: int
    waited_s: int

    @property
    def holds(self) -> bool:
        """Whether the stated interval holds the truth."""
        return self.low is not None and self.high is not None and self.low <= self.truth <= self.high


def run_trial(climate: Climate, seed: int, effort: BlockEffort = BLOCKS) -> Trial:
    """One trial; everything in it follows from the seed."""
    chance = random.Random(seed)
    first = round(chance.uniform(*_CALM_NS))
    second = round(first / chance.uniform(*_RATIOS))
    with tempfile.TemporaryDirectory() as folder:
        weather = climate.weather(load_profile("pixel7"), seed)
        phone = Rehearsal([first, second], _CALM_NS[0], weather, effort, Path(folder), cold=_COLD)
        try:
            one, other = compared_series(["first", "second"], phone.launch, phone.ready, effort, seed)
        except InvalidMeasurementError:
            return Trial(seed, first / second, None, None, None, phone.launches, 0, 0, phone.waited_s)
    ratio = ratio_of(one.blocks, other.blocks)
    void = sum(block.verdict != "valid" for block in one.blocks)
    return Trial(
        seed, first / second, ratio.median, ratio.low, ratio.high, phone.launches, len(one.blocks), void, phone.waited_s
    )


def run_trials(climate: Climate, seeds: Sequence[int]) -> list[Trial]:
    """One trial a seed."""
    return [run_trial(climate, seed) for seed in seeds]
