"""Deployment targets: a phone, the unit of it that computes, and the runtime that reaches that unit."""

import difflib
import tomllib
from functools import cache
from importlib import resources
from typing import Literal

import msgspec

from device_profiler.errors import InputError

Unit = Literal["cpu", "gpu", "npu"]
Runtime = Literal["executorch", "litert"]
Precision = Literal["fp32", "int8"]


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of targets.toml.

    `properties` are the getprop values by which an attached phone is recognised; `emulated` names the phone
    profile that stands in for it; `device_model` names the model that predicts a unit that can't be emulated;
    `benchmark_flags` are those by which LiteRT's benchmark_model reaches this unit and nothing else.
    """

    name: str
    device: str
    soc: str
    unit: Unit
    runtime: Runtime
    precision: Precision
    emulated: str
    properties: dict[str, str]
    device_model: str | None = None
    benchmark_flags: tuple[str, ...] = ()

    @property
    def suffix(self) -> str:
        """File name ending of this target's artifacts."""
        return {"executorch": ".pte", "litert": ".tflite"}[self.runtime]


class _TargetFile(msgspec.Struct, forbid_unknown_fields=True):
    target: list[Target]


@cache
def all_targets() -> tuple[Target, ...]:
    """Every known target, in the file's order."""
    text = resources.files("device_profiler").joinpath("targets.toml").read_text()
    return tuple(msgspec.convert(tomllib.loads(text), _TargetFile).target)


def find_target(name: str) -> Target:
    """The target called `name`.

    Raises:
        InputError: no such target; the message lists the known ones and suggests the nearest.
    """
    known = {target.name: target for target in all_targets()}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise InputError(f"unknown target {name!r}{hint} Known targets: {', '.join(known)}")
