"""The keywords that several functions of `pipeline.api` take, in groups: types of those that are passed on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypedDict

File = str | Path
Preset = Literal["smoke", "quick", "full"] | str
"""One by name, or a file FILE.toml."""
Setting = Literal["budgeted", "adaptive", "anytime"]
RiskMethod = Literal["ltt", "crc"]
InputForm = Literal["float32", "uint8"]
Split = Literal["train", "search", "certify", "test"]


class RunOptions(TypedDict, total=False):
    """Of every verb that writes a run folder."""

    run: File | None
    config: File | None
    verbose: bool


class NetworkOptions(TypedDict, total=False):
    """Data, network and its design."""

    data: str | None
    preset: Preset | None
    backbone: str | None
    size: str | None
    checkpoint: File | None
    heads: Sequence[str]
    weights: File | None
    policy: str | None


class PhoneOptions(TypedDict, total=False):
    """Which phone, and where its figures are kept."""

    device: str | None
    require_device: bool
    store: str | None
    farm: str | None
    credentials: File | None


class ObjectiveOptions(TypedDict, total=False):
    """What the search is asked for."""

    setting: Setting | None
    max_latency: str | None
    max_worst_latency: str | None
    min_miou: float | None
    max_drop: str | None
    max_cost: float | None
    max_worst_cost: float | None
    deadline: Sequence[str]
    max_exits: int | None
    threshold_grid: int | None
    time_limit: str | None
    risk: float | None
    delta: float | None
    risk_method: RiskMethod | None


class TrainOptions(NetworkOptions, RunOptions, total=False):
    """The keywords of `train`."""

    tensorboard: bool


class ProfileOptions(NetworkOptions, PhoneOptions, RunOptions, total=False):
    """The keywords of `profile`."""

    tool: str | None
    allow_fallback: bool


class DeployOptions(NetworkOptions, ObjectiveOptions, PhoneOptions, RunOptions, total=False):
    """The keywords of `deploy`."""

    sizes: Sequence[str]
    max_int8_drop: str | None
    input: InputForm | None
    frame: str | None
    exit_margin: float | None
    label_frames: int | None
