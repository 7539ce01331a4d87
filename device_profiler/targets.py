"""Deployment targets: a phone, the unit of it that computes, and the runtime that reaches that unit."""

import difflib
import tomllib
from functools import cache
from importlib import resources
from typing import Literal

import msgspec

from device_profiler.errors import InputError

Unit = Literal["cpu", "gpu", "npu"]
Runtime = Literal[
    "executorch", "litert", "coreml", "executorch-coreml", "executorch-vulkan",
    "executorch-qnn-sm8550", "executorch-qnn-sm8650",
]
Precision = Literal["fp32", "fp16", "w8", "int8"]
"""w8: weights in 8 bits, arithmetic in fp16. int8: weights and activations."""

UNITS: tuple[Unit, ...] = ("cpu", "gpu", "npu")
_SUFFIXES: dict[Runtime, str] = {"litert": ".tflite", "coreml": ".mlpackage"}


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One unit of one phone in one precision, as targets.toml has it.

    `properties` are the getprop values by which an attached phone is recognised; `emulated` names the phone
    profile that stands in for it; `device_model` names the model that predicts a unit that can't be emulated;
    `benchmark_flags` are those by which LiteRT's benchmark_model reaches this unit and nothing else; `untimed` says why
    nothing here gives this unit's latency (the file itself is exported and checked all the same), empty where one does.
    """

    name: str
    device: str
    soc: str
    unit: Unit
    runtime: Runtime
    precision: Precision
    emulated: str | None = None
    properties: dict[str, str] = {}
    device_model: str | None = None
    benchmark_flags: tuple[str, ...] = ()
    untimed: str = ""

    @property
    def suffix(self) -> str:
        """Ending of the name of this target's artifacts."""
        return _SUFFIXES.get(self.runtime, ".pte")


class SocName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A system on chip as Android names it: Build.SOC_MANUFACTURER and Build.SOC_MODEL, to the letter."""

    manufacturer: str
    model: str


class Unreached(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A unit of a phone that no exporter reaches: `why`, and the targets of the same phone that there are."""

    name: str
    device: str
    soc: str
    unit: Unit
    why: str
    instead: tuple[str, ...]


class _Unit(msgspec.Struct, forbid_unknown_fields=True):
    """How a unit is reached: by `runtime` in `precisions`, the first being the usual one; or `why` nothing does."""

    runtime: Runtime | None = None
    precisions: tuple[Precision, ...] = ()
    device_model: str | None = None
    benchmark_flags: tuple[str, ...] = ()
    untimed: str = ""
    why: str = ""


class _Phone(msgspec.Struct, forbid_unknown_fields=True):
    key: str
    name: str
    soc: str
    cpu: _Unit
    gpu: _Unit
    npu: _Unit
    emulated: str | None = None
    properties: dict[str, str] = {}
    soc_names: tuple[SocName, ...] = ()

    def unit(self, name: Unit) -> _Unit:
        return {"cpu": self.cpu, "gpu": self.gpu, "npu": self.npu}[name]


class _TargetFile(msgspec.Struct, forbid_unknown_fields=True):
    reasons: dict[str, str]
    phone: list[_Phone]


@cache
def _file() -> _TargetFile:
    text = resources.files("device_profiler").joinpath("targets.toml").read_text()
    return msgspec.convert(tomllib.loads(text), _TargetFile)


@cache
def all_targets() -> tuple[Target, ...]:
    """Every known target, in the file's order. Those of a unit's further precisions carry these in their name."""
    return tuple(
        _target(phone, unit, precision)
        for phone in _file().phone
        for unit in UNITS
        for precision in phone.unit(unit).precisions
    )


def _target(phone: _Phone, name: Unit, precision: Precision) -> Target:
    unit, reasons = phone.unit(name), _file().reasons
    assert unit.runtime is not None
    emulated = phone.emulated if name == "cpu" or unit.device_model else None
    return Target(
        name=f"{phone.key}-{name}" if precision == unit.precisions[0] else f"{phone.key}-{name}-{precision}",
        device=phone.name,
        soc=phone.soc,
        unit=name,
        runtime=unit.runtime,
        precision=precision,
        emulated=emulated,
        properties=phone.properties,
        device_model=unit.device_model,
        benchmark_flags=unit.benchmark_flags,
        untimed=reasons[unit.untimed] if unit.untimed else "",
    )


def soc_names(target: Target) -> tuple[SocName, ...]:
    """Every name under which phones with the target's chip tell it to Android apps, the usual one first; Apple's have
    none. Not a field of `Target`, which travels in manifests and cache keys: a name learnt later changes neither."""
    return next((phone.soc_names for phone in _file().phone if phone.soc == target.soc and phone.soc_names), ())


@cache
def unreached_units() -> tuple[Unreached, ...]:
    """The units of known phones that nothing here reaches, in the file's order."""
    return tuple(
        Unreached(
            f"{phone.key}-{unit}", phone.name, phone.soc, unit, _file().reasons[phone.unit(unit).why], _others(phone)
        )
        for phone in _file().phone
        for unit in UNITS
        if phone.unit(unit).runtime is None
    )


def _others(phone: _Phone) -> tuple[str, ...]:
    return tuple(target.name for target in all_targets() if target.device == phone.name)


def find_target(name: str) -> Target:
    """The target called `name`.

    Raises:
        InputError: no such target, with the nearest one and the phones that are known; or a unit that nothing reaches,
            with the reason and what that phone has instead.
    """
    known = {target.name: target for target in all_targets()}
    if name in known:
        return known[name]
    for unit in unreached_units():
        if name == unit.name:
            raise InputError(
                f"nothing reaches the {unit.unit.upper()} of a {unit.device}: {unit.why}; choose one of "
                f"{', '.join(unit.instead)}"
            )
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    phones = ", ".join(phone.key for phone in _file().phone)
    raise InputError(
        f"unknown target {name!r}{hint} A target is PHONE-UNIT or PHONE-UNIT-PRECISION, with a phone of: {phones}; "
        "`python -m pipeline targets` lists them all"
    )


def timed_target(name: str) -> Target:
    """The target called `name`, whose latency something here gives: what `deploy` and `profile` need.

    Raises:
        InputError: as `find_target`, or nothing gives its latency.
    """
    target = find_target(name)
    if target.untimed:
        raise InputError(f"target {name} can be exported but not timed here: {target.untimed}")
    return target
