"""Builds the runners and collects what is pushed: the runner, its runtime's libraries and, for a phone, glibc.

Because the C library travels along, the folder runs on any arm64 Linux kernel: no NDK is needed for a phone's CPU.
"""

import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from device_profiler import debian
from device_profiler.errors import DeviceError, InputError
from device_profiler.files import atomic_path, cache_folder, sha256_bytes, sha256_path
from device_profiler.runner.wheels import WHEELS, Machine, wheel_folder
from device_profiler.targets import Runtime
from device_profiler.toolchain import INSTALL_CROSS_COMPILER, Compiler, cross_compiler, host_compiler

_SOURCES = Path(__file__).parent / "source"
_SHARED = ("tensor", "job", "results", "visits", "calls", "cascade", "cascade_job", "events", "main")
_CASCADE = ("model.h", "tensor.h", "tensor.cpp", "cascade.h", "cascade.cpp")
_OWN: dict[Runtime, tuple[str, ...]] = {
    "executorch": ("executorch_model.cpp",),
    "litert": ("litert_api.h", "litert_model.cpp"),
}
_FLAGS = ("-std=c++17", "-O2", "-Wall", "-Wextra", "-DC10_USING_CUSTOM_GENERATED_MACROS")
# Every library is kept although the linker sees no call into it: kernels and backends register themselves when loaded.
_LINK = ("-Wl,--no-as-needed", "-Wl,--allow-shlib-undefined", "-Wl,-rpath,$ORIGIN")
_LOADER = "ld-linux-aarch64.so.1"
_C_PACKAGES = ("libc6", "libstdc++6", "libgcc-s1")
_C_LIBRARIES = (
    _LOADER,
    "libc.so.6",
    "libm.so.6",
    "libdl.so.2",
    "libpthread.so.0",
    "librt.so.1",
    "libstdc++.so.6",
    "libgcc_s.so.1",
)
_ARM64_ELF, _ELF_BYTES = b"\x7fELF\x02\x01", 20
_ARM64_MACHINE = b"\xb7\x00"


@dataclass(frozen=True)
class RunnerFolder:
    """What is pushed to a device: `archive`, a tar file whose files go into one folder. `key`: hash of them all.

    `program`: name of the file that is run.
    """

    program: str
    runtime: Runtime
    runtime_version: str
    archive: Path
    key: str
    own_loader: bool

    def command(self, folder: str) -> str:
        """Shell command that takes the program's arguments, when the files lie in `folder` on the device."""
        program = f"{folder}/{self.program}"
        return f"{folder}/{_LOADER} --library-path {folder} {program}" if self.own_loader else program


def build_runner(runtime: Runtime, machine: Machine = "phone") -> RunnerFolder:
    """The runner of `runtime` for an arm64 phone, or for this machine; the same inputs give the kept one.

    Raises:
        InputError: the runtime is not installed here, or there is no compiler and no way to fetch one, or the
            installed one lacks an arm64 C library where none can be fetched.
        DeviceError: a download or the compiler failed.
    """
    sources = [_SOURCES / f"{stem}.cpp" for stem in (*_SHARED, f"{runtime}_model", f"{runtime}_events")]
    return build_program(f"{runtime}_runner", sources, runtime, machine)


def build_program(name: str, sources: Sequence[Path], runtime: Runtime, machine: Machine = "phone") -> RunnerFolder:
    """A program on `runtime`, called `name`, from C++ `sources` with the headers beside them. Raises likewise."""
    compiler, c_libraries = _phone_compiler() if machine == "phone" else (host_compiler(), ())
    program = _compile(name, sources, runtime, machine, compiler)
    files = (program, *_runtime_libraries(runtime, machine), *c_libraries)
    key = _content_hash(files)[:24]
    version = WHEELS[runtime].version
    return RunnerFolder(name, runtime, version, _archive(files, key), key, own_loader=machine == "phone")


def cascade_sources(runtime: Runtime) -> tuple[Path, ...]:
    """Sources of the cascade alone, without jobs and results: what an app builds from a bundle is this same code."""
    return tuple(_SOURCES / name for name in (*_CASCADE, *_OWN[runtime]))


def _content_hash(files: Sequence[Path]) -> str:
    return sha256_bytes(*(f"{file.name} {sha256_path(file)}\n".encode() for file in files))


def _compile(name: str, sources: Sequence[Path], runtime: Runtime, machine: Machine, compiler: Compiler) -> Path:
    wheel, folder = WHEELS[runtime], wheel_folder(runtime, machine)
    headers = []
    if wheel.headers is not None:
        headers = [folder / wheel.headers, folder / wheel.headers / "executorch/runtime/core/portable_type/c10"]
    libraries: Sequence[str | Path] = (*_LINK, *_runtime_libraries(runtime, machine))
    return compiler.compile(sources, name, flags=_FLAGS, include=headers, libraries=libraries)


def _runtime_libraries(runtime: Runtime, machine: Machine) -> tuple[Path, ...]:
    folder = wheel_folder(runtime, machine)
    return tuple(folder / name for name in WHEELS[runtime].libraries)


def _phone_compiler() -> tuple[Compiler, tuple[Path, ...]]:
    """The cross compiler, and the C libraries that go with what it builds: Debian's, else those it links against."""
    compiler = cross_compiler()
    # One that was unpacked came from Debian's packages: to ask apt again takes half a second.
    if compiler.sysroot or debian.available():
        return compiler, _debian_libraries()
    libraries = _own_libraries(compiler)
    # Programs ask for the symbol versions of the C library that they were linked against: another one, another program.
    return replace(compiler, version=f"{compiler.version}, C library {_content_hash(libraries)[:16]}"), libraries


def _own_libraries(compiler: Compiler) -> tuple[Path, ...]:
    """The arm64 C and C++ libraries of an installed cross compiler."""
    found = tuple(compiler.library(name) for name in _C_LIBRARIES)
    usable = tuple(file for file in found if file and _is_arm64(file))
    if len(usable) < len(found):
        lacking = ", ".join(name for name, file in zip(_C_LIBRARIES, found, strict=True) if file not in usable)
        raise InputError(
            f"{compiler.cxx} has no arm64 {lacking}, which a phone's runner runs beside: {INSTALL_CROSS_COMPILER}"
        )
    return usable


def _is_arm64(file: Path) -> bool:
    with file.open("rb") as stream:
        header = stream.read(_ELF_BYTES)
    return header.startswith(_ARM64_ELF) and header.endswith(_ARM64_MACHINE)


def _debian_libraries() -> tuple[Path, ...]:
    """The arm64 C and C++ libraries of the Debian release whose compiler built the runner."""
    tree = debian.fetch(_C_PACKAGES, architecture="arm64", dependencies=False)
    found = {file.name: file for file in tree.rglob("*.so*")}
    if missing := [name for name in _C_LIBRARIES if name not in found]:
        raise DeviceError(
            f"Debian's arm64 packages {', '.join(_C_PACKAGES)} lack {missing[0]}; remove {tree} and try again"
        )
    return tuple(found[name] for name in _C_LIBRARIES)


def _archive(files: Sequence[Path], key: str) -> Path:
    """A tar file of `files`, links followed, in the cache."""
    archive = cache_folder("runners") / f"{key}.tar"
    if not archive.exists():
        write_archive(archive, files)
    return archive


def write_archive(archive: Path, files: Sequence[Path]) -> None:
    """Write a tar file of `files` without their folders, links followed; the same files give the same bytes."""
    with atomic_path(archive) as partial, tarfile.open(partial, "w", dereference=True) as tar:
        for file in files:
            tar.add(file, file.name, filter=_plain)


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = 0
    member.mode = 0o755
    return member
