"""What runs arm64 programs on this machine: qemu-user with its libraries, the interpreter, the clock plugin."""

import platform
import shutil
import subprocess
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from device_profiler import debian, toolchain
from device_profiler.emulator.caching import built_once
from device_profiler.emulator.phone_profile import PhoneProfile
from device_profiler.emulator.weather import Weather
from device_profiler.errors import DeviceError
from device_profiler.files import cache_folder, sha256_bytes

# The clock plugin speaks plugin interface 1, which later releases changed.
QEMU_SUITE = "bookworm"
SOURCES = resources.files("device_profiler.emulator")


@dataclass(frozen=True)
class HostTools:
    """Folder with qemu, its libraries, the static interpreter, the clock plugin and what names processes."""

    folder: Path

    @property
    def interpreter(self) -> Path:
        return self.folder / "interpreter"

    def qemu_command(self, seen_as: str) -> list[str]:
        """How qemu is started where this folder is seen as `seen_as`: by its own loader, on its own libraries."""
        return [f"{seen_as}/lib/{loader_name()}", "--library-path", f"{seen_as}/lib",
                "--preload", f"{seen_as}/process_name.so", f"{seen_as}/qemu-aarch64"]

    def write_arguments(
        self, destination: Path, profile: PhoneProfile, seen_as: str, weather: Weather | None = None
    ) -> None:
        """Write the interpreter's two argument files for `profile` into the folder `destination`."""
        plain = [*self.qemu_command(seen_as), "-cpu", profile.qemu_cpu]
        clock = profile.clock.plugin_arguments() + (weather.plugin_arguments() if weather else "")
        clocked = [*plain, "-plugin", f"{seen_as}/clock_plugin.so,{clock}"]
        (destination / "plain.args").write_text("\n".join(plain) + "\n")
        (destination / "clocked.args").write_text("\n".join(clocked) + "\n")

    def run(self, root: Path, program: str, *arguments: str) -> str:
        """Output of one arm64 program of the tree `root`.

        Raises:
            DeviceError: it failed.
        """
        command = [*self.qemu_command(str(self.folder)), "-L", str(root), str(root / program.lstrip("/")), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise DeviceError(f"{program} does not run under qemu: {done.stderr.strip()[:300]}")
        return done.stdout


def loader_name() -> str:
    """File name of this machine's dynamic loader."""
    return {"x86_64": "ld-linux-x86-64.so.2", "aarch64": "ld-linux-aarch64.so.1"}[platform.machine()]


def host_tools() -> HostTools:
    """The tools, fetched and compiled on first use (12 MB of download).

    Raises:
        DeviceError: a download or a compilation failed, or this machine is not x86_64.
        InputError: Debian packages can't be fetched here.
    """
    if platform.machine() != "x86_64":
        raise DeviceError(f"emulated phones want an x86_64 machine, this one is {platform.machine()}; attach a phone "
                          f"and use --device SERIAL or HOST:PORT")
    tree = debian.fetch(["qemu-user"], suite=QEMU_SUITE)
    compiler = toolchain.host_compiler()
    own = [compiler.compile([_source("interpreter.c")], "interpreter", flags=["-O2", "-static"], language="c")]
    clock = ("clock_plugin", "clock_weather", "clock_arguments")
    libraries = {"clock_plugin": clock, "process_name": ("process_name",)}
    own += [compiler.compile([_source(f"{part}.c") for part in parts], f"{name}.so",
                             flags=["-O2", "-shared", "-fPIC"], language="c") for name, parts in libraries.items()]
    key = sha256_bytes(f"{tree} {own}".encode())[:16]
    return HostTools(built_once(cache_folder("emulator", "host") / key, lambda folder: _gather(folder, tree, own)))


def _source(name: str) -> Path:
    return Path(str(SOURCES.joinpath(name)))


def _gather(folder: Path, tree: Path, own: list[Path]) -> None:
    (folder / "lib").mkdir()
    for place in sorted(tree.glob("usr/lib/*-linux-gnu")) + sorted(tree.glob("lib/*-linux-gnu")):
        for library in sorted(place.glob("*.so.*")):
            shutil.copy(library.resolve(), folder / "lib" / library.name)
    shutil.copy(tree / "usr/bin/qemu-aarch64", folder / "qemu-aarch64")
    for path in own:
        shutil.copy(path, folder / path.name)
