"""What computes a step: this process alone, or one of several that a launcher started (Hugging Face Accelerate)."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from device_profiler.errors import InputError
from pipeline.launched import processes
from pipeline.training.schedule import Precision


class Engine(Protocol):
    """The part of training that depends on where it runs."""

    device: torch.device
    rank: int
    processes: int

    def optimizer(self, optimizer: Optimizer) -> Optimizer:
        """The optimiser to step with."""

    def autocast(self) -> AbstractContextManager[Any]:
        """Around what may be computed in the chosen precision."""

    def backward(self, loss: Tensor) -> None:
        """Add a loss's gradients."""

    def finish_gradients(self, parameters: Sequence[nn.Parameter], optimizer: Optimizer) -> None:
        """Make gradients those of the whole batch: unscaled, averaged over the processes."""

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Average statistics over the processes, in place."""

    def scaling(self) -> dict[str, float]:
        """How far gradients are scaled by now: part of the state to resume from; empty without a gradient scaler."""

    def resume_scaling(self, scaling: Mapping[str, float]) -> None:
        """As it was when `scaling` was told."""

    def wait(self) -> None:
        """Until every process is here."""


class OneProcess:
    """This process, in fp32: plain PyTorch."""

    rank, processes = 0, 1

    def __init__(self) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def optimizer(self, optimizer: Optimizer) -> Optimizer:
        """As it is."""
        return optimizer

    def autocast(self) -> AbstractContextManager[Any]:
        """Nothing."""
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        """PyTorch's own."""
        loss.backward()  # type: ignore[no-untyped-call]

    def finish_gradients(self, parameters: Sequence[nn.Parameter], optimizer: Optimizer) -> None:
        """They are."""

    def average(self, tensors: Iterable[Tensor]) -> None:
        """They are."""

    def scaling(self) -> dict[str, float]:
        """Gradients are as they are."""
        return {}

    def resume_scaling(self, scaling: Mapping[str, float]) -> None:
        """Nothing."""

    def wait(self) -> None:
        """There is nobody to wait for."""


class Accelerated:
    """One of the processes that `accelerate launch` or `torchrun` started, or this one in mixed precision.

    Gradients are averaged by an explicit reduction, not by a wrapper around the model: exits that a step leaves out
    have none, and every head is differentiated by itself.
    """

    def __init__(self, precision: Precision) -> None:
        from accelerate import Accelerator

        mixed = "no" if precision == "fp32" else precision
        if mixed == "fp16" and not torch.cuda.is_available():
            raise InputError("fp16 needs a GPU; on a CPU choose fp32 or bf16")
        self._accelerator = Accelerator(mixed_precision=mixed, cpu=not torch.cuda.is_available())
        self.device: torch.device = self._accelerator.device
        self.rank: int = self._accelerator.process_index
        self.processes: int = self._accelerator.num_processes

    def optimizer(self, optimizer: Optimizer) -> Optimizer:
        """With a gradient scaler where the precision needs one."""
        prepared: Optimizer = self._accelerator.prepare_optimizer(optimizer)
        return prepared

    def autocast(self) -> AbstractContextManager[Any]:
        """The chosen precision."""
        context: AbstractContextManager[Any] = self._accelerator.autocast()
        return context

    def backward(self, loss: Tensor) -> None:
        """Scaled where the precision needs it."""
        self._accelerator.backward(loss)

    def finish_gradients(self, parameters: Sequence[nn.Parameter], optimizer: Optimizer) -> None:
        """Average, then unscale: so one process's overflow is every process's, and all of them skip the step."""
        if self.processes > 1:
            for parameter in parameters:
                if parameter.grad is not None:
                    parameter.grad = self._accelerator.reduce(parameter.grad, reduction="mean")
        self._accelerator.unscale_gradients(optimizer)

    def average(self, tensors: Iterable[Tensor]) -> None:
        """BatchNorm statistics: each process saw its own images."""
        if self.processes > 1:
            for tensor in tensors:
                if tensor.is_floating_point():
                    tensor.copy_(self._accelerator.reduce(tensor, reduction="mean"))

    def scaling(self) -> dict[str, float]:
        """The gradient scaler's: fp16 alone has one."""
        scaler = self._accelerator.scaler
        return dict(scaler.state_dict()) if scaler else {}

    def resume_scaling(self, scaling: Mapping[str, float]) -> None:
        """Into the gradient scaler; states kept before scaling was kept have none."""
        if self._accelerator.scaler and scaling:
            self._accelerator.scaler.load_state_dict(dict(scaling))

    def wait(self) -> None:
        """A barrier."""
        self._accelerator.wait_for_everyone()


def choose_engine(precision: Precision) -> Engine:
    """Plain PyTorch for one process in fp32; Accelerate where a launcher started several or the precision is mixed."""
    return Accelerated(precision) if processes() > 1 or precision != "fp32" else OneProcess()
