"""Latency of units that can't be run here: a roofline for each operator, plus what handing work over costs.

time(operator) = max(macs / (peak x efficiency of its kind), bytes moved / bandwidth) + operator overhead
time(entry)    = sum over operators + invocation overhead + partitions x partition overhead
(Williams, Waterman, Patterson: "Roofline", CACM 2009.) Operators that the unit does not take run on the host's CPU and
cut the graph: every stretch of operators between two cuts is a partition. Figures from here are called predicted, never
measured.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Literal

import msgspec
import platformdirs
import tomli_w

from device_profiler.errors import InputError
from device_profiler.files import APPLICATION, sha256_bytes, write_atomic
from device_profiler.workload import Operator

NS_PER_S = 1e9
Place = Literal["unit", "host"]


class Parameter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One figure of a device model. `source` names the public statement it rests on, or begins with "assumed"."""

    value: float
    unit: str
    source: str

    @property
    def assumed(self) -> bool:
        """Whether no public statement gives the figure."""
        return self.source.startswith("assumed")


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a device model knows; rates in MAC/s and B/s, efficiencies as shares of the peak, overheads in ns.

    `invocation_overhead`: once for each call of an entry; `partition_overhead`: for each partition on the unit;
    `host_*`: the CPU that runs what the unit does not take.
    """

    peak_macs: Parameter
    convolution_efficiency: Parameter
    depthwise_efficiency: Parameter
    dense_efficiency: Parameter
    bandwidth: Parameter
    operator_overhead: Parameter
    invocation_overhead: Parameter
    partition_overhead: Parameter
    host_macs: Parameter
    host_bandwidth: Parameter
    host_operator_overhead: Parameter


class Kinds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Operator kinds that the unit takes, by what bounds them; `memory`: only the bytes they move."""

    convolution: tuple[str, ...]
    depthwise: tuple[str, ...]
    dense: tuple[str, ...]
    memory: tuple[str, ...]

    @property
    def supported(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.convolution, *self.depthwise, *self.dense, *self.memory)


class DeviceModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A device model: a file of device_models/ as read, or a variant of it."""

    name: str
    version: int
    title: str
    parameters: Parameters
    kinds: Kinds

    @property
    def fingerprint(self) -> str:
        """Name, version and a hash of every figure: predictions of differing models never pass for one another."""
        return f"{self.name} {self.version} {sha256_bytes(msgspec.json.encode(self))[:8]}"

    @property
    def assumed(self) -> tuple[str, ...]:
        """Names of the parameters that are assumed."""
        fields = self.parameters.__struct_fields__
        return tuple(name for name in fields if getattr(self.parameters, name).assumed)


@dataclass(frozen=True)
class OperatorTime:
    """Predicted time of one operator, where it runs, and what bounds it."""

    kind: str
    ns: float
    place: Place
    bound: Literal["compute", "memory"]


@dataclass(frozen=True)
class Prediction:
    """Predicted latency of one call in ns: the sum of `by_operator`, plus `overhead_ns`.

    `fallbacks`: kinds of operators that were to run on the unit but that it does not take.
    """

    total_ns: float
    by_operator: tuple[OperatorTime, ...]
    partitions: int
    overhead_ns: float
    fallbacks: tuple[str, ...]


@cache
def load_model(name: str) -> DeviceModel:
    """The device model called `name`: the one that was fitted here (`devices fit --save`), else the shipped one.

    Raises:
        InputError: there is none (those there are get listed), or the fitted one's file is broken.
    """
    folder = resources.files("device_profiler").joinpath("device_models")
    known = sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))
    if name not in known:
        raise InputError(f"unknown device model {name!r}; known: {', '.join(known)}")
    if (fitted := fitted_file(name)).is_file():
        return read_model(fitted)
    return msgspec.convert(tomllib.loads(folder.joinpath(f"{name}.toml").read_text()), DeviceModel)


def fitted_file(name: str) -> Path:
    """Where a model that was fitted here lies, if there is one: in the user's configuration folder."""
    return Path(platformdirs.user_config_dir(APPLICATION), "device_models", f"{name}.toml")


def read_model(path: Path) -> DeviceModel:
    """The device model in a TOML file.

    Raises:
        InputError: the file can't be read, or is no device model; says where.
    """
    try:
        return msgspec.convert(tomllib.loads(path.read_text()), DeviceModel)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise InputError(f"the device model {path} can't be read: {error}; mend it, or remove it to use the shipped "
                         "one") from error


def write_model(model: DeviceModel, path: Path) -> None:
    """Write a device model as TOML, whole or not at all."""
    write_atomic(path, tomli_w.dumps(msgspec.to_builtins(model)))


def predict(operators: Sequence[Operator], model: DeviceModel) -> Prediction:
    """Latency of one call whose operators run in this order."""
    times = tuple(_operator_time(operator, model) for operator in operators)
    places = [time.place for time in times]
    partitions = sum(place == "unit" and before == "host" for before, place in pairwise(["host", *places]))
    parameters = model.parameters
    overhead = partitions * parameters.partition_overhead.value
    if partitions:
        overhead += parameters.invocation_overhead.value
    fallbacks = sorted({o.kind for o in operators if o.delegated and o.kind not in model.kinds.supported})
    return Prediction(sum(time.ns for time in times) + overhead, times, partitions, overhead, tuple(fallbacks))


def scaled(model: DeviceModel, parameter: str, factor: float) -> DeviceModel:
    """`model` with one parameter multiplied by `factor`, for the sensitivity analysis.

    Raises:
        InputError: no such parameter, or a factor that is not positive.
    """
    names = model.parameters.__struct_fields__
    if parameter not in names:
        raise InputError(f"device model {model.name} has no parameter {parameter!r}; it has: {', '.join(names)}")
    if not factor > 0:
        raise InputError(f"the factor for {parameter} must be > 0, not {factor}")
    old: Parameter = getattr(model.parameters, parameter)
    new = msgspec.structs.replace(old, value=old.value * factor)
    return msgspec.structs.replace(model, parameters=msgspec.structs.replace(model.parameters, **{parameter: new}))


def _operator_time(operator: Operator, model: DeviceModel) -> OperatorTime:
    on_unit = operator.delegated and operator.kind in model.kinds.supported
    parameters = model.parameters
    rate = _unit_rate(operator, model) if on_unit else parameters.host_macs.value
    bandwidth = (parameters.bandwidth if on_unit else parameters.host_bandwidth).value
    overhead = (parameters.operator_overhead if on_unit else parameters.host_operator_overhead).value
    compute_s = operator.macs / rate
    memory_s = (operator.bytes_weights + operator.bytes_in + operator.bytes_out) / bandwidth
    return OperatorTime(
        operator.kind,
        max(compute_s, memory_s) * NS_PER_S + overhead,
        "unit" if on_unit else "host",
        "compute" if compute_s > memory_s else "memory",
    )


def _unit_rate(operator: Operator, model: DeviceModel) -> float:
    """Multiply-adds a second that the unit reaches on this kind; kinds without any are bound by memory alone."""
    parameters, kinds = model.parameters, model.kinds
    if operator.kind in kinds.depthwise:
        efficiency = parameters.depthwise_efficiency
    elif operator.kind in kinds.dense:
        efficiency = parameters.dense_efficiency
    else:
        efficiency = parameters.convolution_efficiency
    return parameters.peak_macs.value * efficiency.value
