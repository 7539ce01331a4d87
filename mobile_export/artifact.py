"""What an exporter gives back: a file, its entry points, how much of it reached the delegate, and its parity."""

from typing import Literal

import msgspec

from device_profiler.workload import Operator
from mobile_export.tensors import TensorSpec


class Quantization(msgspec.Struct, frozen=True):
    """Affine quantisation of a tensor at an entry point's edge: real = scale * (stored - zero_point)."""

    scale: float
    zero_point: int


class Port(msgspec.Struct, frozen=True):
    """An input or output of an entry point as the runtime sees it: shape and dtype in `spec` are the stored ones.

    `layout`: "NCHW" or "NHWC" for four dimensions, "" for others. `boundary` converts to and from torch's view.
    """

    spec: TensorSpec
    quantization: Quantization | None = None
    layout: Literal["NCHW", "NHWC", ""] = ""


class EntryPoint(msgspec.Struct, frozen=True):
    """A method (ExecuTorch), signature (LiteRT) or function (Core ML).

    `host_side`: kinds of operators declared off the delegate.
    """

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    operators: tuple[Operator, ...]
    host_side: tuple[str, ...] = ()

    @property
    def delegated_share(self) -> float:
        """Delegated operators as a share of all, in [0, 1]."""
        return sum(op.delegated for op in self.operators) / len(self.operators) if self.operators else 0.0

    @property
    def confidence_step(self) -> float:
        """What one position of its logits adds to a confidence that counts positions; 0 without logits."""
        logits = next((port for port in self.outputs if port.spec.name == "logits"), None)
        if logits is None:
            return 0.0
        height, width = logits.spec.shape[1:3] if logits.layout == "NHWC" else logits.spec.shape[2:4]
        return 1 / (height * width)

    @property
    def macs(self) -> int:
        """Multiply-adds of the entry point."""
        return sum(op.macs for op in self.operators)


class OutputParity(msgspec.Struct, frozen=True):
    """How far one output of one entry point lies from eager PyTorch over all samples.

    `label_agreement`: share of pixels with the same label; `clear_agreement`: the same among pixels where eager
    PyTorch's best class leads by more than `parity.CLEAR_MARGIN` mean errors: a label lost there is no rounding.
    """

    entry: str
    output: str
    samples: int
    max_abs_error: float
    mean_abs_error: float
    label_agreement: float | None = None
    clear_agreement: float | None = None


class ParityReport(msgspec.Struct, frozen=True):
    """Parity of a whole artifact with the tolerances it was held against.

    `checked_by`: what ran the artifact. Where nothing on this machine can, `outputs` is empty, `passed` is false and
    `not_runnable` says why: such an artifact is exported, never verified.
    """

    outputs: tuple[OutputParity, ...]
    tolerance: dict[str, float]
    passed: bool
    checked_by: str = ""
    not_runnable: str = ""


class Artifact(msgspec.Struct, frozen=True):
    """An exported file, or a folder such as a .mlpackage, hashed over its sorted files.

    `toolchain`: versions of what made it. `path`: when stored, relative to the record's folder.
    """

    path: str
    sha256: str
    size_bytes: int
    runtime: str
    precision: str
    entries: tuple[EntryPoint, ...]
    toolchain: dict[str, str]
    parity: ParityReport | None = None

    def entry(self, name: str) -> EntryPoint:
        """The entry point called `name` (KeyError if absent)."""
        return {entry.name: entry for entry in self.entries}[name]

    def flips_cost(self, flips: int) -> float:
        """By how much `flips` positions change a confidence that counts them, at most."""
        return flips * max(entry.confidence_step for entry in self.entries)
