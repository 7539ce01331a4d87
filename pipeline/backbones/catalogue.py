"""Networks by name: torchvision's and timm's, and a user's own by import path, with their input range."""

import difflib
import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import timm
import torchvision
from torch import Tensor, nn

from device_profiler.errors import InputError
from pipeline.backbones.dilation import dilate
from pipeline.backbones.lite_weights import PACKAGES
from pipeline.backbones.normalization import Normalize
from pipeline.backbones.padding import make_padding_static

STRIDES = (8, 16, 32)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LITE_OFFSET, LITE_SCALE = 127.0, 128.0
"""EfficientNet-Lite's own input range; timm's differs by half a grey level."""


@dataclass(frozen=True, eq=False)
class Network:
    """A network to be cut: `module` maps a normalised image [N, 3, H, W] to features, logits of a map, or classes.

    `head` is the part of a segmentation network behind its backbone, None for a backbone alone.
    """

    name: str
    module: nn.Module
    normalize: Normalize
    head: nn.Module | None = None


class Segmentation(nn.Module):
    """A torchvision segmentation network without its last enlargement: image to logits [N, C, h, w]."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.backbone, self.classifier = network.get_submodule("backbone"), network.get_submodule("classifier")

    def forward(self, image: Tensor) -> Any:
        features = self.backbone(image)
        return self.classifier(features.get("out", features))


Open = Callable[[str, int, int], Network]
"""From name, output stride and number of classes to a network, randomly initialised."""


def find_network(name: str) -> Open:
    """What builds the network called `name`.

    A name is one of torchvision's segmentation or classification networks, or timm's (`timm/NAME` where both have it),
    or `package.module:factory` for a callable without arguments that returns an `nn.Module`.

    Raises:
        InputError: no such network; near names are suggested.
    """
    if ":" in name:
        return _open_factory
    if name in PACKAGES:
        return _open_lite
    if name in _segmentation_names():
        return _open_segmentation
    if name in torchvision.models.list_models(module=torchvision.models):
        return _open_torchvision
    if name.removeprefix("timm/") in timm.list_models():
        return _open_timm
    raise InputError(_unknown(name))


def open_network(name: str, output_stride: int, classes: int) -> Network:
    """The network called `name` with features at `output_stride`, randomly initialised, in eval mode.

    Raises:
        InputError: unknown name, an output stride that is not offered, a factory that fails.
    """
    if output_stride not in STRIDES:
        raise InputError(f"output stride {output_stride} is not offered; choose one of {', '.join(map(str, STRIDES))}")
    network = find_network(name)(name, output_stride, classes)
    network.module.eval()
    make_padding_static(network.module)
    return network


def _unknown(name: str) -> str:
    known = [*PACKAGES, *_segmentation_names(), *torchvision.models.list_models(module=torchvision.models)]
    known += timm.list_models()
    near = difflib.get_close_matches(name, dict.fromkeys(known), n=4, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}?" if near else "known are"
    shown = "" if near else f" {', '.join(known[:6])} ..."
    return (
        f"unknown backbone {name!r}; {hint}{shown} A backbone is a network of torchvision or timm by name "
        "(efficientnet_lite0, mobilenet_v2, deeplabv3_resnet50 ...) or your own as package.module:factory"
    )


def _segmentation_names() -> list[str]:
    return list(torchvision.models.list_models(module=torchvision.models.segmentation))


def is_timm(name: str) -> bool:
    """Whether `name` is one of timm's networks."""
    return find_network(name) is _open_timm


def native_stride(name: str) -> int | None:
    """The output stride that a segmentation network is made for; None for a network that takes any."""
    if name not in _segmentation_names():
        return None
    return 16 if "mobilenet" in name else 8


def _open_lite(name: str, output_stride: int, classes: int) -> Network:
    module = timm.create_model(f"tf_{name}", pretrained=False, output_stride=output_stride)
    return Network(name, module, Normalize(LITE_OFFSET, LITE_SCALE))


def _open_segmentation(name: str, output_stride: int, classes: int) -> Network:
    """As torchvision builds it, at the output stride that it is made for."""
    options: dict[str, Any] = {"weights": None, "weights_backbone": None, "num_classes": classes}
    if not name.startswith("lraspp"):
        options["aux_loss"] = False
    made_for = native_stride(name)
    if output_stride != made_for:
        raise InputError(f"{name} is made for output stride {made_for}, not {output_stride}: give that one")
    network = Segmentation(torchvision.models.get_model(name, **options))
    return Network(name, network, _imagenet_normalize(), network.classifier)


def _open_torchvision(name: str, output_stride: int, classes: int) -> Network:
    module = torchvision.models.get_model(name, weights=None)
    dilate(module, output_stride, name)
    return Network(name, module, _imagenet_normalize())


def _open_timm(name: str, output_stride: int, classes: int) -> Network:
    plain = name.removeprefix("timm/")
    module = timm.create_model(plain, pretrained=False)
    config = cast(Mapping[str, Any], module.pretrained_cfg)
    if any(type(part).__name__ == "Conv2dSame" for part in module.modules()):
        module = _at_stride(plain, module, output_stride, name)
    else:
        dilate(module, output_stride, name)
    return Network(name, module, _normalize(config["mean"], config["std"]))


def _at_stride(plain: str, module: nn.Module, output_stride: int, name: str) -> nn.Module:
    """A network that pads by its input's size: timm dilates most of them itself, not MobileNetV3 nor NASNet."""
    try:
        return timm.create_model(plain, pretrained=False, output_stride=output_stride)
    except (TypeError, AssertionError, NotImplementedError):
        make_padding_static(module)
        dilate(module, output_stride, name)
        return module


def _open_factory(name: str, output_stride: int, classes: int) -> Network:
    """A user's module; attributes `mean` and `std` (of values in 0..1, by channel) say what range it takes."""
    made = _called(name)
    if not isinstance(made, nn.Module):
        raise InputError(f"{name} gives a {type(made).__name__}; a backbone factory returns a torch.nn.Module")
    dilate(made, output_stride, name)
    return Network(name, made, _normalize(getattr(made, "mean", IMAGENET_MEAN), getattr(made, "std", IMAGENET_STD)))


def _called(name: str) -> object:
    """What the factory at an import path returns; modules beside the working folder are found too."""
    place, _, attribute = name.partition(":")
    sys.path.append(str(Path.cwd()))
    try:
        factory = getattr(importlib.import_module(place), attribute)
        return factory if isinstance(factory, nn.Module) else factory()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise InputError(
            f"backbone {name!r}: {error}; give package.module:factory, a callable without arguments"
        ) from error
    finally:
        sys.path.pop()


def _imagenet_normalize() -> Normalize:
    return _normalize(IMAGENET_MEAN, IMAGENET_STD)


def _normalize(mean: tuple[float, ...], std: tuple[float, ...]) -> Normalize:
    return Normalize([255 * value for value in mean], [255 * value for value in std])
