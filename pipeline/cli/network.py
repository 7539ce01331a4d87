"""What verbs share: the arguments that choose data, network and phone, and how they become typed requests."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from device_profiler.errors import InputError
from pipeline.cli.store_place import add_store_argument
from pipeline.head_space import select_heads
from pipeline.pixel_size import height_and_width
from pipeline.policy_name import parse_policy

if TYPE_CHECKING:
    from pipeline.network_request import NetworkRequest
    from pipeline.workspace import Workspace

class DesignOptions(TypedDict, total=False):
    """Keywords of a `NetworkRequest`."""

    heads: tuple[str, ...]
    weights: Path | None
    policy: str | None


PRESETS = ("smoke", "quick", "full")


def add_network_arguments(parser: argparse.ArgumentParser) -> None:
    """What fixes data and network: shared by every verb that trains, evaluates or exports."""
    group = parser.add_argument_group("data and network")
    group.add_argument("--data", metavar="SOURCE",
                       help="sample, shapes, folder:PATH, voc:PATH, coco:PATH, cityscapes:PATH (default: the preset's)")
    group.add_argument("--preset", default="quick", metavar=f"{{{','.join(PRESETS)}}}|FILE.toml",
                       help="how much effort, or a file with every knob of design and training (default: quick)")
    group.add_argument("--backbone", metavar="NAME",
                       help="of torchvision or timm, or your own as package.module:factory (default: the preset's)")
    group.add_argument("--size", metavar="WIDTHxHEIGHT", help="input size (default: by preset and the data's shape)")
    group.add_argument("--checkpoint", type=Path, metavar="FOLDER", help="a trained network: nothing is trained")


def add_design_arguments(parser: argparse.ArgumentParser) -> None:
    """What fixes a network that is yet to be trained, and its exit policy."""
    group = parser.add_argument_group("design")
    group.add_argument("--heads", type=head_patterns, metavar="HEAD,...",
                       help="head names, wildcards (fcn-r*) or sets (paper, mobile, all) (default: the preset's)")
    group.add_argument("--weights", type=Path, metavar="FILE",
                       help="start from these weights of the backbone (.safetensors or .pth), not the published ones; "
                            "none: from random ones")
    group.add_argument("--policy", type=policy_name, metavar="NAME",
                       help="exit policy: mean, share:0.9, margin-median, agreement ... (default: mean)")


def comma_list(text: str) -> tuple[str, ...]:
    """'a,b' -> ('a', 'b')."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def head_patterns(text: str) -> tuple[str, ...]:
    """As `comma_list`, of heads. Raises: as `select_heads`."""
    patterns = comma_list(text)
    select_heads(patterns)
    return patterns


def policy_name(text: str) -> str:
    """An exit policy as typed. Raises: as `parse_policy`."""
    parse_policy(text)
    return text


def add_device_arguments(parser: argparse.ArgumentParser) -> None:
    """Which phone: shared by every verb that measures."""
    group = parser.add_argument_group("phone")
    group.add_argument("--device", default="auto", metavar="auto|SERIAL|HOST:PORT|emulated", help="default: auto")
    group.add_argument("--require-device", action="store_true", help="fail where only an emulated phone is at hand")
    add_store_argument(group)


def parse_sizes(text: str | None) -> tuple[tuple[int, int], ...]:
    """'480x352,256x192' -> ((352, 480), (192, 256)). Raises: as `parse_size`."""
    sizes = (parse_size(part, "--sizes") for part in comma_list(text or ""))
    return tuple(size for size in sizes if size)


def parse_size(text: str | None, flag: str = "--size") -> tuple[int, int] | None:
    """'480x352' -> (352, 480), that is (height, width).

    Raises:
        InputError: not two numbers, or not multiples of 32.
    """
    if text is None:
        return None
    height, width = height_and_width(text, flag, "256x256")
    if not width or not height or width % 32 or height % 32:
        near = "x".join(str(max(32, round(side / 32) * 32)) for side in (width, height))
        raise InputError(f"{flag} {text} must be multiples of 32, for example {near}")
    return height, width


def network_request(arguments: argparse.Namespace) -> "NetworkRequest":
    """The request that `add_network_arguments` and the command line state, checked before heavy imports.

    Raises:
        InputError: a size that is none, or as `NetworkRequest`.
    """
    size = parse_size(arguments.size)
    from pipeline.network_request import NetworkRequest
    from pipeline.presets import find_preset

    return NetworkRequest(
        preset=find_preset(arguments.preset),
        data=arguments.data,
        backbone=arguments.backbone,
        size=size,
        checkpoint=arguments.checkpoint,
        **_design(arguments),
    )


def _design(arguments: argparse.Namespace) -> "DesignOptions":
    """What `add_design_arguments` took; nothing where the verb has no such arguments."""
    if not hasattr(arguments, "weights"):
        return {}
    heads = arguments.heads or ()
    flat = tuple(name for item in heads for name in (item if isinstance(item, tuple) else (item,)))
    return {"heads": flat, "weights": arguments.weights, "policy": arguments.policy}


def open_workspace(arguments: argparse.Namespace, name: str) -> "Workspace":
    """The run folder of this command (`--run`, else runs/<name>) with progress on the terminal."""
    from pipeline.launched import rank
    from pipeline.progress import SilentProgress, terminal_progress
    from pipeline.workspace import Workspace

    return Workspace(arguments.run or Path("runs") / name, SilentProgress() if rank() else terminal_progress())


def quiet_vendors(verbose: bool) -> None:
    """Keep what torch, its exporters and runtimes print off the terminal, unless asked for."""
    import logging
    import os
    import warnings

    if verbose:
        logging.basicConfig(level=logging.INFO)
        os.environ["MESS_DEPLOY_SHOW_OUTPUT"] = "1"  # mobile_export.worker.SHOW_OUTPUT, not imported: it is heavy
        return
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
