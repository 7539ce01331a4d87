"""What a user asks of data and network, refused at once where it can't be had: light, read by argument parsers."""

from dataclasses import dataclass
from pathlib import Path

from device_profiler.errors import InputError
from pipeline.data.loading import check_source
from pipeline.data.source import Size
from pipeline.head_space import select_heads
from pipeline.policy_name import parse_policy
from pipeline.presets import Preset

RANDOM_WEIGHTS = Path("none")
"""Stands for random initial weights, where a file of weights could be named."""


@dataclass(frozen=True)
class NetworkRequest:
    """What the command line says of data and network; None stands for the preset's choice.

    Raises InputError, before a phone is opened or an image read: data, weights or a checkpoint that are not there, an
    unknown head or policy, or weights to start from beside a checkpoint, which is trained already.
    """

    preset: Preset
    data: str | None = None
    backbone: str | None = None
    size: Size | None = None
    checkpoint: Path | None = None
    heads: tuple[str, ...] = ()
    weights: Path | None = None
    policy: str | None = None

    def __post_init__(self) -> None:
        parse_policy(self.chosen_policy)
        select_heads(self.chosen_heads)
        check_source(self.chosen_data)
        if self.checkpoint and self.weights:
            raise InputError(
                f"--checkpoint {self.checkpoint} is trained already, and --weights {self.weights} would start a "
                "training: leave one of them out"
            )
        if self.checkpoint and not self.checkpoint.exists():
            raise InputError(
                f"no checkpoint at {self.checkpoint}: name a folder that `train` or `deploy` wrote, as "
                "runs/train/checkpoint"
            )
        if self.weights and self.weights != RANDOM_WEIGHTS and not self.weights.is_file():
            raise InputError(
                f"no weights at {self.weights}: --weights takes a file, or {RANDOM_WEIGHTS} for random ones"
            )

    @property
    def chosen_backbone(self) -> str:
        """The backbone."""
        return self.backbone or self.preset.backbone

    @property
    def chosen_data(self) -> str:
        """The data source."""
        return self.data or self.preset.data

    @property
    def chosen_heads(self) -> tuple[str, ...]:
        """Patterns of the heads at every exit."""
        return self.heads or self.preset.heads

    @property
    def chosen_policy(self) -> str:
        """The exit policy."""
        return self.policy or self.preset.policy
