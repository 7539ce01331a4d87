"""Weights that a network starts from: published ones, or those of a file; checked by name and shape."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from urllib.error import URLError

import timm
import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from device_profiler.errors import InputError
from pipeline.backbones.catalogue import Network, is_timm
from pipeline.backbones.lite_weights import PACKAGES, packaged_weights


def load_published_weights(network: Network) -> None:
    """Fill a network with the weights that its package or its library publishes, from disk where they lie there.

    A segmentation network for other classes than the published keeps its head as initialised. A user's own module is
    taken as its factory made it.

    Raises:
        InputError: the weights are neither on disk nor to be downloaded.
    """
    if ":" in network.name:
        return
    if network.name in PACKAGES:
        network.module.load_state_dict(packaged_weights(network.name, network.module))
        return
    try:
        stored = _published(network.name)
    except (URLError, OSError, RuntimeError) as error:
        raise InputError(
            f"the weights of {network.name} can't be downloaded ({error}); give them with --weights FILE, or "
            "--weights none to start from random ones"
        ) from error
    load_weights(network, stored, f"the published weights of {network.name}", keep_head=True)


def _published(name: str) -> dict[str, Tensor]:
    if is_timm(name):
        stored: dict[str, Tensor] = timm.create_model(name.removeprefix("timm/"), pretrained=True).state_dict()
        return stored
    weights: dict[str, Tensor] = torchvision.models.get_model_weights(name).DEFAULT.get_state_dict(progress=False)
    return weights


# What torch's unpickler raises on bytes that are no pickle: its opcodes act on whatever the bytes say.
_GARBAGE = (pickle.UnpicklingError, ValueError, LookupError, TypeError, AttributeError)


def read_weights(path: Path) -> dict[str, Tensor]:
    """A state dict from a .safetensors file, or from a .pt or .pth without running any code in it.

    Raises:
        InputError: unreadable, or no state dict.
    """
    try:
        stored = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"no weights at {path}") from None
    except (SafetensorError, RuntimeError, OSError, EOFError, *_GARBAGE) as error:
        reason = f"{type(error).__name__}, {str(error).splitlines()[0]}" if str(error) else type(error).__name__
        raise InputError(f"{path} can't be read as weights (.safetensors, or a .pth state dict): {reason}") from None
    if isinstance(stored, dict) and isinstance(stored.get("model"), dict):
        stored = stored["model"]
    if not isinstance(stored, dict) or not all(isinstance(value, Tensor) for value in stored.values()):
        raise InputError(f"{path} holds no state dict: a mapping from names to tensors is needed")
    return stored


def load_weights(network: Network, stored: Mapping[str, Tensor], title: str, *, keep_head: bool = False) -> None:
    """Fill a network from a state dict; what only training needs (an auxiliary head) is left out.

    With `keep_head`, a head for other classes stays as it was initialised.

    Raises:
        InputError: the head is for other classes than the data, or a tensor is missing or of another shape.
    """
    wanted = network.module.state_dict()
    given = {name: value for name, value in stored.items() if not name.startswith("aux_classifier.")}
    heads = [name for name in wanted if name.startswith("classifier.") and network.head is not None]
    differing = [name for name in heads if name in given and given[name].shape != wanted[name].shape]
    if differing and not keep_head:
        there, here = given[differing[0]].shape[0], wanted[differing[0]].shape[0]
        raise InputError(
            f"{title} is for {there} classes, the data has {here}: choose data of the same classes, or a backbone "
            f"alone (such as {network.name.split('_', 1)[-1]}), which gets heads of its own"
        )
    given = {name: value for name, value in given.items() if name not in differing}
    missing = [name for name in wanted if name not in given and name not in differing]
    wrong = [name for name in wanted if name in given and given[name].shape != wanted[name].shape]
    if missing or wrong:
        raise InputError(f"{title} does not fit {network.name}: {(missing or wrong)[0]} is missing or of another shape")
    network.module.load_state_dict(given, strict=False)
