"""What disturbs an emulated phone's clock where that is asked for: seeded noise, drift, interruptions, and heat."""

import math
from collections.abc import Iterator

import msgspec

from device_profiler.emulator.phone_profile import Parameter, PhoneProfile
from device_profiler.errors import InputError
from device_profiler.files import sha256_bytes

FOLDER = "vendor/etc/emulator"
STATE_FILE = "weather"
HEAT_FILE = "heat"
_AMBIENT_C = (0.0, 60.0)
_START_C = (0.0, 90.0)


class Noise(msgspec.Struct, frozen=True):
    """Shares of a run's time, but for times themselves; see clock_weather.c for the formula.

    `launch`, `noise`: standard deviations by process and by run; `drift`: the largest slow deviation, with a new value
    every `drift_s` seconds of virtual time; `jitter`: the probability that a run is interrupted, for up to `jitter_ms`.
    """

    seed: int
    launch: float
    noise: float
    drift: float
    drift_s: float
    jitter: float
    jitter_ms: float


class Heat(msgspec.Struct, frozen=True):
    """One lumped mass in degrees Celsius; see clock_weather.c for the formula.

    `limits_c`: where Android's thermal status becomes 1 (light) to 6 (shutdown).
    """

    ambient_c: float
    start_c: float
    rise_k: float
    tau_s: float
    throttle_c: float
    slope: float
    slowest: float
    limits_c: tuple[float, ...]


class Weather(msgspec.Struct, frozen=True):
    """What the clock of one emulated phone suffers."""

    noise: Noise | None = None
    heat: Heat | None = None

    def digest(self) -> str:
        """Figures compare only between phones in the same weather."""
        return sha256_bytes(msgspec.json.encode(self))[:8]

    def plugin_arguments(self, state: str = f"/{FOLDER}/{STATE_FILE}") -> str:
        """The weather as arguments of the clock plugin, with a comma before each; `state`: file of the state."""
        values = {"state": state}
        for part in (self.noise, self.heat):
            if part is not None:
                given = {name: value for name, value in msgspec.structs.asdict(part).items() if name != "limits_c"}
                values |= {name: f"{value:.9f}" for name, value in given.items() if name != "start_c"}
        return "".join(f",{name}={value}" for name, value in values.items())

    def files(self) -> Iterator[tuple[str, str]]:
        """Name and content of the files in FOLDER: the state to start from, and the limits that dumpsys reads."""
        heat = self.heat
        yield STATE_FILE, f"0 {round(heat.start_c * 1000) if heat else 0} 0\n"
        if heat:
            millidegrees = (round(value * 1000) for value in (heat.ambient_c, *heat.limits_c))
            yield HEAT_FILE, f"{heat.tau_s:.3f} {' '.join(map(str, millidegrees))}\n"


def make_weather(
    profile: PhoneProfile, *, seed: int | None = None, ambient_c: float | None = None, start_c: float | None = None
) -> Weather | None:
    """The profile's noise where a `seed` is given, its heat where a temperature is; None where neither is.

    A phone starts at its ambient temperature unless `start_c` says else; the profile knows the usual ambient.

    Raises:
        InputError: a value out of range, or the profile describes no noise or no heat.
    """
    heated = ambient_c is not None or start_c is not None
    if seed is None and not heated:
        return None
    return Weather(
        noise=_noise(profile, seed) if seed is not None else None,
        heat=_heat(profile, ambient_c, start_c) if heated else None,
    )


def _noise(profile: PhoneProfile, seed: int) -> Noise:
    if profile.noise is None:
        raise InputError(f"the phone profile {profile.name} describes no noise: leave the seed out")
    if not 0 <= seed < 2**31:
        raise InputError(f"the seed of a phone's noise is a whole number from 0 to {2**31 - 1}, not {seed}")
    return Noise(seed, **_values(profile.noise))


def _heat(profile: PhoneProfile, ambient_c: float | None, start_c: float | None) -> Heat:
    if profile.heat is None:
        raise InputError(f"the phone profile {profile.name} describes no heat: leave the temperatures out")
    limits = profile.heat.limits_c.value
    usual = {name: value for name, value in _values(profile.heat).items() if name != "ambient_c"}
    room = profile.heat.ambient_c.value if ambient_c is None else ambient_c
    ambient = _checked("ambient temperature", room, _AMBIENT_C)
    start = _checked("start temperature", ambient if start_c is None else start_c, _START_C)
    return Heat(ambient_c=ambient, start_c=start, limits_c=limits, **usual)


def _values(described: msgspec.Struct) -> dict[str, float]:
    fields = msgspec.structs.asdict(described)
    return {name: item.value for name, item in fields.items() if isinstance(item, Parameter)}


def _checked(what: str, celsius: float, bounds: tuple[float, float]) -> float:
    if not (math.isfinite(celsius) and bounds[0] <= celsius <= bounds[1]):
        raise InputError(f"an emulated phone's {what} is {bounds[0]:g} to {bounds[1]:g} °C, not {celsius:g}")
    return celsius
