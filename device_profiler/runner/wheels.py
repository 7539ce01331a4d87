"""The runtimes' wheels: libraries and headers of exactly the installed versions, for this machine or an arm64 phone."""

import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from device_profiler.errors import DeviceError, InputError
from device_profiler.files import cache_folder
from device_profiler.targets import Runtime

Machine = Literal["phone", "host"]

# Debian 12 has glibc 2.36, the oldest that the runners are run with: a wheel that wants a newer one would not load.
_GLIBC_MINORS = range(36, 16, -1)
_DOWNLOAD_TIMEOUT_S = 900


@dataclass(frozen=True)
class Wheel:
    """What a runner is linked against: a package's shared libraries and, where it ships them, its headers."""

    package: str
    libraries: tuple[str, ...]
    headers: str | None = None

    @property
    def version(self) -> str:
        """The installed version.

        Raises:
            InputError: the package is not installed.
        """
        try:
            return metadata.version(self.package)
        except metadata.PackageNotFoundError as error:
            raise InputError(f"the package {self.package} is not installed; run: make setup") from error

    def wanted(self, name: str) -> bool:
        """Whether the file `name` of the wheel is a library or a header of it."""
        return name in self.libraries or (self.headers is not None and name.startswith(self.headers + "/"))


# In the order in which they are linked.
_KERNELS = ("kernels_optimized", "kernels_quantized", "backend_xnnpack", "threadpool")
WHEELS: dict[Runtime, Wheel] = {
    "executorch": Wheel(
        "executorch",
        (*(f"executorch/lib/libexecutorch_{name}.so" for name in _KERNELS), "executorch/lib/libexecutorch.so"),
        "executorch/include",
    ),
    "litert": Wheel("ai-edge-litert", ("ai_edge_litert/libLiteRt.so",)),
}


def wheel_folder(runtime: Runtime, machine: Machine) -> Path:
    """Folder with the wheel's libraries and headers: the installed package, or the unpacked arm64 wheel in the cache.

    Raises:
        InputError: the package is not installed.
        DeviceError: the arm64 wheel can't be downloaded.
    """
    wheel = WHEELS[runtime]
    version = wheel.version
    if machine == "host":
        return Path(str(metadata.distribution(wheel.package).locate_file("")))
    folder = cache_folder("wheels") / f"{wheel.package}-{version}-aarch64"
    if not folder.is_dir():
        _download(wheel, version, folder)
    return folder


def _download(wheel: Wheel, version: str, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".download-") as temporary:
        downloads = Path(temporary, "wheels")
        _pip_download(f"{wheel.package}=={version}", downloads)
        unpacked = Path(temporary, "unpacked")
        for archive in downloads.glob("*.whl"):
            _unpack(archive, wheel, unpacked)
        if missing := [name for name in wheel.libraries if not (unpacked / name).is_file()]:
            raise DeviceError(
                f"the arm64 wheel of {wheel.package} {version} lacks {missing[0]}; another version is needed"
            )
        try:
            unpacked.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise


def _pip_download(requirement: str, folder: Path) -> None:
    """The wheel from the index that the user's pip is set to."""
    platforms = [f"--platform=manylinux_2_{minor}_aarch64" for minor in _GLIBC_MINORS] + [
        "--platform=manylinux2014_aarch64"
    ]
    python = f"--python-version={sys.version_info.major}.{sys.version_info.minor}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", *platforms, python]
    command += ["--disable-pip-version-check", "--quiet", "--dest", str(folder), requirement]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_DOWNLOAD_TIMEOUT_S, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        raise DeviceError(
            f"pip took more than {_DOWNLOAD_TIMEOUT_S} s to download {requirement} for arm64; check the network, then "
            "try again"
        ) from error
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        reason = " ".join([line for line in said if line.startswith("ERROR")] or said[-1:])[:300]
        raise DeviceError(
            f"pip can't download {requirement} for arm64, which the phone's runner is built from: {reason}; "
            "check the network and pip's index"
        )


def _unpack(archive: Path, wheel: Wheel, folder: Path) -> None:
    with zipfile.ZipFile(archive) as content:
        content.extractall(folder, [name for name in content.namelist() if wheel.wanted(name)])
