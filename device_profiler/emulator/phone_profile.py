"""Phone profiles: what an emulated phone says about itself and how its clock counts. Data, each with its source."""

import re
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import msgspec

from device_profiler.errors import InputError
from device_profiler.files import sha256_bytes

INSTRUCTION_CLASSES = ("integer", "simd", "load", "store", "branch")


class Parameter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A figure with where it comes from, or "assumed: ..."."""

    value: float
    source: str


class Cluster(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Cores of one kind, numbered after those of the clusters before it."""

    core: str
    count: int
    max_khz: int
    min_khz: int
    capacity: int
    implementer: str
    part: str
    variant: str
    revision: int
    source: str


class ByClass(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A figure for each class of instructions."""

    integer: Parameter
    simd: Parameter
    load: Parameter
    store: Parameter
    branch: Parameter


class Clock(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The virtual clock: time [ns] = sum over classes of instructions x cycles / ghz.

    `mix`: the share of each class in a typical network.
    """

    core: str
    ghz: Parameter
    cycles: ByClass
    mix: ByClass

    def mean_ns(self) -> float:
        """Time of one instruction of the typical mix, for a clock that can't tell classes apart."""
        shares = [getattr(self.mix, name).value for name in INSTRUCTION_CLASSES]
        cycles = [getattr(self.cycles, name).value for name in INSTRUCTION_CLASSES]
        return float(sum(s * c for s, c in zip(shares, cycles, strict=True)) / sum(shares) / self.ghz.value)

    def plugin_arguments(self) -> str:
        """The clock as arguments of the clock plugin."""
        weights = ((name, getattr(self.cycles, name).value) for name in INSTRUCTION_CLASSES)
        return ",".join([f"ghz={self.ghz.value}", *(f"{name}={value}" for name, value in weights)])


class Battery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Battery state, in the units of `dumpsys battery`."""

    level: int
    temperature_decicelsius: int
    voltage_millivolt: int
    charge_microampere_hour: int
    source: str


class ThermalZone(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One sensor; `kind` is Android's TemperatureType (0 CPU, 1 GPU, 2 battery, 3 skin, 9 NPU)."""

    name: str
    kind: int
    celsius: float


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Temperatures from which on Android's thermal status is 1, 2, ... 6."""

    value: tuple[float, float, float, float, float, float]
    source: str


class NoiseProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How unsteady a phone of this kind is; the fields of weather.Noise."""

    launch: Parameter
    noise: Parameter
    drift: Parameter
    drift_s: Parameter
    jitter: Parameter
    jitter_ms: Parameter


class HeatProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a phone of this kind heats and throttles; the fields of weather.Heat."""

    ambient_c: Parameter
    rise_k: Parameter
    tau_s: Parameter
    throttle_c: Parameter
    slope: Parameter
    slowest: Parameter
    limits_c: Limits


class PhoneProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One phone that can be emulated: properties as `getprop` gives them, cores, clock, battery, sensors.

    `noise` and `heat` disturb the clock only where a user asks for that (see weather).
    """

    name: str
    title: str
    qemu_cpu: str
    properties: dict[str, str]
    cluster: tuple[Cluster, ...]
    clock: Clock
    battery: Battery
    thermal: tuple[ThermalZone, ...]
    noise: NoiseProfile | None = None
    heat: HeatProfile | None = None

    def cores(self) -> list[Cluster]:
        """The cluster of every core, in the order of their numbers."""
        return [cluster for cluster in self.cluster for _ in range(cluster.count)]

    def identity(self) -> str:
        """Name and digest: what a phone of exactly this profile declares."""
        return f"{self.name}-{self.digest()}"

    def digest(self) -> str:
        """Hash of what makes up the calm phone: an image built from it carries it."""
        return sha256_bytes(msgspec.json.encode(msgspec.structs.replace(self, noise=None, heat=None)))[:16]


def known_profiles() -> tuple[str, ...]:
    """Names of the phones that can be emulated."""
    folder = resources.files("device_profiler.emulator")
    return tuple(sorted(item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml")))


def load_profile(name: str, properties: Mapping[str, str] | None = None) -> PhoneProfile:
    """The profile called `name`, or of the file PHONE.toml; `properties` take the place of its own.

    Raises:
        InputError: no such profile (the message lists the known ones), or a file that describes no phone.
    """
    profile = _from_file(Path(name)) if name.endswith(".toml") else _known(name)
    return msgspec.structs.replace(profile, properties=profile.properties | dict(properties or {}))


def _known(name: str) -> PhoneProfile:
    if name not in known_profiles():
        raise InputError(f"unknown phone profile {name!r}; known profiles: {', '.join(known_profiles())}")
    text = resources.files("device_profiler.emulator").joinpath(f"{name}.toml").read_text()
    return msgspec.convert(tomllib.loads(text), PhoneProfile)


def _from_file(path: Path) -> PhoneProfile:
    try:
        profile = msgspec.convert(tomllib.loads(path.read_text()), PhoneProfile)
    except OSError as error:
        raise InputError(f"phone profile {path} can't be read ({error.strerror}); a name is one of "
                         f"{', '.join(known_profiles())}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise InputError(f"{path} describes no phone: {error}; see device_profiler/emulator/pixel7.toml") from error
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", profile.name):
        raise InputError(f"{path}: the name {profile.name!r} may hold small letters, digits and dashes only")
    return profile
