"""What hosts of a farm must agree in, for one host's figures to be another's: versions, and the code of the graphs."""

from collections.abc import Mapping
from importlib import metadata
from platform import python_version_tuple

from device_profiler.errors import InputError
from pipeline.sources import graph_code

PACKAGES = (
    "mess-deploy", "torch", "torchvision", "timm", "executorch", "litert-torch", "ai-edge-litert", "msgspec",
    "distributed",
)


def versions_here() -> dict[str, str]:
    """By name: versions of what decides a figure, Python's without its patch level."""
    return {
        "Python": ".".join(python_version_tuple()[:2]),
        **{name: metadata.version(name) for name in PACKAGES},
        "graph code": graph_code()[:12],
    }


def check_versions(here: Mapping[str, str], there: Mapping[str, str], where: str) -> None:
    """Raises InputError where the host at `where` differs from this one, with every difference."""
    names = sorted({*here, *there})
    told = [f"{name} is {there.get(name, 'absent')} there and {here.get(name, 'absent')} here"
            for name in names if here.get(name) != there.get(name)]
    if told:
        raise InputError(f"{where} runs another version: {'; '.join(told)}; install the same on every host of the farm")
