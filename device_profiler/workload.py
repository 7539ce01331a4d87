"""What a program asks of a device: operators with their work, and the calls that run it."""

from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]


class Operator(msgspec.Struct, frozen=True):
    """One operator of a lowered graph and the work it does, for device models.

    `macs`: multiply-adds; `bytes_*`: what it reads and writes at the stored precision; `delegated`: whether it
    runs on the delegate that was asked for.
    """

    kind: str
    macs: int
    bytes_weights: int
    bytes_in: int
    bytes_out: int
    delegated: bool


@dataclass(frozen=True)
class Call:
    """One entry point (ExecuTorch method or LiteRT signature) with its inputs, as stored (int8 where it takes int8)."""

    entry: str
    inputs: tuple[Array, ...]


@dataclass(frozen=True)
class Workload:
    """A call to measure: under which `key` its latency is kept, and the operators behind it, in order of execution."""

    key: str
    call: Call
    operators: tuple[Operator, ...]

    @property
    def macs(self) -> int:
        """Multiply-adds of one run."""
        return sum(operator.macs for operator in self.operators)


class CascadePlan(msgspec.Struct, frozen=True):
    """How a host drives a deployment: run `stages` in order, leave at the first whose confidence >= its threshold.

    Stage n > 0 takes the features that stage n-1 handed on. Every stage but the last returns (features, logits,
    confidence), and `finish[n]` turns its logits into a label map [1, H, W]; the last stage returns the label map
    itself, for nothing is left to decide. A budgeted deployment is the cascade of one stage.
    """

    stages: tuple[str, ...]
    thresholds: tuple[float, ...]
    finish: tuple[str, ...]
