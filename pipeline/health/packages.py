"""The interpreter, and every Python package that this project pins: is it there, in the version that was tested?"""

import re
import sys
from importlib import metadata

from pipeline.health.check import Check, enough

AREA = "python"
PROJECT = "mess-deploy"
INSTALL = "python -m pip install -e ."
_PINNED = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(\[[^]]*\])?\s*==\s*(?P<version>[^;\s]+)\s*(;.*)?$")


def check_python() -> Check:
    """Python 3.11 or newer."""
    ok, version = sys.version_info >= (3, 11), sys.version.split()[0]
    return enough(AREA, "python", version, ok=ok, remedy="install Python 3.11 or newer; make setup PYTHON=...")


def check_packages() -> list[Check]:
    """One finding a package that the project needs; what only extras need is left out."""
    try:
        required = metadata.requires(PROJECT) or []
    except metadata.PackageNotFoundError:
        return [Check(AREA, PROJECT, "missing", "this project is not installed in this environment", INSTALL)]
    pins = [match for text in required if "extra ==" not in text for match in [_PINNED.match(text)] if match]
    return [check_package(match["name"], match["version"]) for match in pins]


def check_package(name: str, version: str) -> Check:
    """A package against the version that the project pins."""
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Check(AREA, name, "missing", "not installed", INSTALL)
    if found != version:
        return Check(AREA, name, "missing", f"{found} is installed, {version} is what was tested", INSTALL)
    return Check(AREA, name, "works", found)
