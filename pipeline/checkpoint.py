"""Checkpoints: weights as safetensors, structure and provenance as JSON beside them; no pickles."""

from dataclasses import dataclass
from pathlib import Path

import msgspec
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from device_profiler.errors import InputError
from device_profiler.files import atomic_path, sha256_path, write_atomic
from pipeline.model import ModelSpec, MultiExitModel, build_model

SCHEMA = 1
WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"


class TrainingRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where weights come from: the data source and its content, the schedule's key, steps done, package versions."""

    data: str
    data_fingerprint: str
    training_key: str
    steps: int
    versions: dict[str, str]


class CheckpointDescription(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of model.json."""

    schema: int
    spec: ModelSpec
    weights_sha256: str
    training: TrainingRecord | None = None


@dataclass(frozen=True)
class Checkpoint:
    """A folder with model.safetensors and model.json, described."""

    folder: Path
    description: CheckpointDescription

    @property
    def spec(self) -> ModelSpec:
        """Structure of the network."""
        return self.description.spec

    @property
    def weights(self) -> Path:
        """The safetensors file."""
        return self.folder / WEIGHTS

    def at_size(self, size: tuple[int, int]) -> "Checkpoint":
        """The same weights for images of another size (height, width): every layer takes any size."""
        spec = msgspec.structs.replace(self.spec, size=size)
        return Checkpoint(self.folder, msgspec.structs.replace(self.description, spec=spec))


def save_checkpoint(folder: Path, model: MultiExitModel, training: TrainingRecord | None = None) -> Checkpoint:
    """Write `model` into `folder`; the description comes last, so that a broken-off write leaves no checkpoint."""
    with atomic_path(folder / WEIGHTS) as temporary:
        save_file({name: value.contiguous() for name, value in model.state_dict().items()}, temporary)
    description = CheckpointDescription(SCHEMA, model.spec, sha256_path(folder / WEIGHTS), training)
    write_atomic(folder / DESCRIPTION, msgspec.json.format(msgspec.json.encode(description), indent=2))
    return Checkpoint(folder, description)


def open_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint in a folder, or the one that a model.safetensors or model.json belongs to; no weights are read.

    Raises:
        InputError: nothing there, no checkpoint of ours, or a newer schema.
    """
    folder = path if path.is_dir() else path.parent
    description = folder / DESCRIPTION
    if not description.is_file() or not (folder / WEIGHTS).is_file():
        raise InputError(f"no checkpoint at {path}: need a folder with {WEIGHTS} and {DESCRIPTION} (see `train`)")
    try:
        content = msgspec.json.decode(description.read_bytes(), type=CheckpointDescription)
    except msgspec.DecodeError as error:
        raise InputError(f"{description} describes no checkpoint: {error}") from error
    if content.schema != SCHEMA:
        raise InputError(f"{description} has schema {content.schema}; this version reads schema {SCHEMA}: train again")
    return Checkpoint(folder, content)


def load_model(checkpoint: Checkpoint) -> MultiExitModel:
    """The network with the checkpoint's weights, in eval mode.

    Raises:
        InputError: the weight file is not the one described, or does not fit the described structure.
    """
    if sha256_path(checkpoint.weights) != checkpoint.description.weights_sha256:
        raise InputError(f"{checkpoint.weights} is not the file that {DESCRIPTION} beside it describes: train again")
    model = build_model(checkpoint.spec)
    try:
        model.load_state_dict(load_file(checkpoint.weights))
    except (SafetensorError, RuntimeError) as error:
        first = str(error).strip().splitlines()[-1].strip()
        raise InputError(f"{checkpoint.weights} does not fit its own description: {first}") from error
    return model
