"""What training needs to go on after an interruption: tensors and progress in one safetensors file, whole or absent."""

from collections.abc import Mapping
from pathlib import Path

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from device_profiler.files import atomic_path

METADATA = "progress"


class TrainingProgress(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far a training has come: `step` steps of stage `stage` (1 or 2) are done. `key` names the training."""

    key: str
    stage: int
    step: int


def save_state(
    path: Path, progress: TrainingProgress, model: nn.Module, optimizer: Optimizer, scaling: Mapping[str, float]
) -> None:
    """Write weights, the optimiser's state and, where gradients are scaled, how far (`Engine.scaling`)."""
    tensors = {f"model.{name}": value.contiguous() for name, value in model.state_dict().items()}
    for index, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(v).contiguous() for name, v in values.items()}
    tensors |= {f"scaling.{name}": torch.as_tensor(value) for name, value in scaling.items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={METADATA: msgspec.json.encode(progress).decode()})


def read_progress(path: Path, key: str) -> TrainingProgress | None:
    """Where the training `key` was left; None where nothing usable of this training lies at `path`."""
    try:
        with safe_open(path, framework="pt") as stored:
            progress = msgspec.json.decode((stored.metadata() or {})[METADATA], type=TrainingProgress)
    except (FileNotFoundError, SafetensorError, KeyError, msgspec.DecodeError):
        return None
    return progress if progress.key == key else None


def load_state(path: Path, model: nn.Module, optimizer: Optimizer | None) -> dict[str, float]:
    """Put stored weights (and the optimiser's state) back; returns how far gradients were scaled, empty if not."""
    weights: dict[str, Tensor] = {}
    scaling: dict[str, float] = {}
    state: dict[int, dict[str, Tensor]] = {}
    with safe_open(path, framework="pt") as stored:
        for name in stored.keys():  # noqa: SIM118 -- not a dict
            kind, rest = name.split(".", 1)
            if kind == "model":
                weights[rest] = stored.get_tensor(name)
            elif kind == "scaling":
                scaling[rest] = stored.get_tensor(name).item()
            else:
                index, entry = rest.split(".", 1)
                state.setdefault(int(index), {})[entry] = stored.get_tensor(name)
    model.load_state_dict(weights)
    if optimizer is not None:
        optimizer.load_state_dict(optimizer.state_dict() | {"state": _laid_out_like_parameters(state, optimizer)})
    return scaling


def _laid_out_like_parameters(
    state: dict[int, dict[str, Tensor]], optimizer: Optimizer
) -> dict[int, dict[str, Tensor]]:
    """The state with the memory layout of its parameters: fused optimisers walk both in memory order."""
    parameters: list[Tensor] = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return {
        index: {
            name: torch.empty_like(parameters[index]).copy_(value) if value.shape == parameters[index].shape else value
            for name, value in values.items()
        }
        for index, values in state.items()
    }
