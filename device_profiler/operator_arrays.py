"""Predictions of many programs at once, as array arithmetic: what fitting a device model asks thousands of times.

Same formulas as device_profiler.prediction, held equal by a test.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from device_profiler.prediction import NS_PER_S, DeviceModel, Kinds
from device_profiler.workload import Operator

Floats = npt.NDArray[np.float64]
_CLASSES = ("convolution", "depthwise", "dense", "memory", "host")
_HOST = _CLASSES.index("host")


@dataclass(frozen=True, eq=False)
class OperatorArrays:
    """Operators of several programs, one after the other: float64 [O] each; `program` int [O] says whose it is.

    `partitions`: partitions on the unit of each program, float64 [P].
    """

    macs: Floats
    moved: Floats
    kind: npt.NDArray[np.intp]
    program: npt.NDArray[np.intp]
    partitions: Floats

    @classmethod
    def of(cls, programs: Sequence[Sequence[Operator]], kinds: Kinds) -> "OperatorArrays":
        """The arrays of `programs` for a model with these kinds."""
        flat = [(index, operator) for index, program in enumerate(programs) for operator in program]
        return cls(
            macs=np.array([float(o.macs) for _, o in flat]),
            moved=np.array([float(o.bytes_weights + o.bytes_in + o.bytes_out) for _, o in flat]),
            kind=np.array([_class_of(o, kinds) for _, o in flat], np.intp),
            program=np.array([index for index, _ in flat], np.intp),
            partitions=np.array([_partitions(program, kinds) for program in programs]),
        )

    def predict_ns(self, values: Mapping[str, float]) -> Floats:
        """Latency of every program, ns [P], for parameters by name."""
        peak = values["peak_macs"]
        rates = np.array([
            peak * values["convolution_efficiency"], peak * values["depthwise_efficiency"],
            peak * values["dense_efficiency"], peak * values["convolution_efficiency"], values["host_macs"],
        ])
        on_host = self.kind == _HOST
        bandwidth = np.where(on_host, values["host_bandwidth"], values["bandwidth"])
        overhead = np.where(on_host, values["host_operator_overhead"], values["operator_overhead"])
        each = np.maximum(self.macs / rates[self.kind], self.moved / bandwidth) * NS_PER_S + overhead
        total = np.bincount(self.program, each, minlength=len(self.partitions))
        calls = self.partitions * values["partition_overhead"] + (self.partitions > 0) * values["invocation_overhead"]
        return np.asarray(total + calls)


def values_of(model: DeviceModel) -> dict[str, float]:
    """A model's parameters as plain numbers by name."""
    return {name: getattr(model.parameters, name).value for name in model.parameters.__struct_fields__}


def _class_of(operator: Operator, kinds: Kinds) -> int:
    if not operator.delegated:
        return _HOST
    for index, taken in enumerate((kinds.convolution, kinds.depthwise, kinds.dense, kinds.memory)):
        if operator.kind in taken:
            return index
    return _HOST


def _partitions(program: Sequence[Operator], kinds: Kinds) -> float:
    places = [True, *(_class_of(operator, kinds) == _HOST for operator in program)]
    return float(sum(before and not here for before, here in pairwise(places)))
