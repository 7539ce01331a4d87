"""C and C++ compilers for this machine and for arm64 phones: the installed one, else Debian's unpacked into the cache.

A phone's programs need no NDK: they are linked against glibc and run beside the libraries that are pushed with them.
"""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

from device_profiler import debian
from device_profiler.errors import DeviceError, InputError
from device_profiler.files import cache_folder, sha256_bytes, sha256_path

Language = Literal["c", "c++"]

COMPILE_TIMEOUT_S = 900.0
PHONE_TRIPLET = "aarch64-linux-gnu"
# What other makers call theirs (crosstool-NG and Gentoo, Arm, openSUSE). Beside Debian's packages they are not looked
# for: the C library that is pushed is Debian's there, and theirs may be newer.
_OTHER_TRIPLETS = ("aarch64-unknown-linux-gnu", "aarch64-none-linux-gnu", "aarch64-suse-linux")
INSTALL_CROSS_COMPILER = ("install an aarch64 cross g++ with its C library "
                          "(Arch: aarch64-linux-gnu-gcc, Debian: g++-aarch64-linux-gnu)")
# These belong to the host's dynamic loader and must come from where it comes from.
_HOST_ONLY = re.compile(r"^(ld-linux|lib(c|m|mvec|pthread|dl|rt|resolv|util|anl|nsl|nss_\w+|stdc\+\+|gcc_s)\.so)")


@dataclass(frozen=True)
class Compiler:
    """A C and C++ compiler with its libraries.

    `sysroot` is None for an installed compiler. `version` names the compiler exactly: it is part of the key under which
    results are kept.
    """

    c: Path
    cxx: Path
    version: str
    sysroot: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    def compile(self, sources: Sequence[Path], output: str, *, flags: Sequence[str] = (), include: Sequence[Path] = (),
                libraries: Sequence[str | Path] = (), language: Language = "c++") -> Path:
        """Compile and link `sources` into a file called `output` in the cache; the same inputs give the kept file.

        `libraries` are linker arguments in order: paths of libraries, or options such as "-ldl". The key of the kept
        file is the content of the sources, of the headers beside them and of the library files, the flags, the names
        of the include folders and the compiler's version: headers in `include` are taken not to change under one name.

        Raises:
            InputError: a source is missing.
            DeviceError: the compiler refused; the message carries its first error.
        """
        options = [*flags, *(f"-I{folder}" for folder in include)]
        inputs = [*sources, *(item for item in libraries if isinstance(item, Path))]
        if absent := [path for path in inputs if not path.exists()]:
            raise InputError(f"can't compile {output}: {absent[0]} does not exist")
        inputs += sorted({header for source in sources for header in source.parent.glob("*.h*")})
        key = sha256_bytes(*(f"{part}\0".encode() for part in (
            self.version, language, *options, *map(str, libraries), *(sha256_path(path) for path in inputs))))[:24]
        result = cache_folder("compiled", key) / output
        if not result.exists():
            self._build([*options, *map(str, sources), *map(str, libraries)], result, language)
        return result

    def library(self, name: str) -> Path | None:
        """The file `name` that programs of this compiler run with, such as libc.so.6; None where it has none."""
        done = subprocess.run([self.cxx, *self._sysroot(), f"-print-file-name={name}"], text=True, capture_output=True,
                              env=_environment(self.environment), timeout=60, stdin=subprocess.DEVNULL)
        file = Path(done.stdout.strip())
        # A driver that knows no such file repeats the bare name. The folder is resolved, a link's own name is kept.
        return file.parent.resolve() / file.name if file.is_absolute() and file.is_file() else None

    def _build(self, arguments: Sequence[str], result: Path, language: Language) -> None:
        partial = result.with_name(f".{result.name}.{os.getpid()}")
        try:
            self._run([*arguments, "-o", str(partial)], language, result.name)
            partial.replace(result)
        finally:
            partial.unlink(missing_ok=True)

    def _run(self, arguments: Sequence[str], language: Language, name: str) -> None:
        driver = self.c if language == "c" else self.cxx
        try:
            done = subprocess.run([driver, *self._sysroot(), *arguments], env=_environment(self.environment), text=True,
                                  capture_output=True, timeout=COMPILE_TIMEOUT_S, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired as error:
            raise DeviceError(f"{driver.name} took more than {COMPILE_TIMEOUT_S:g} s to compile {name}; see what else "
                              "keeps this machine busy, then try again") from error
        if done.returncode != 0:
            raise DeviceError(f"{driver.name} can't compile {name}: {_first_error(done.stderr)}")

    def _sysroot(self) -> list[str]:
        return [f"--sysroot={self.sysroot}"] if self.sysroot else []


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    return os.environ | dict(extra) | {"LC_ALL": "C"}


def _first_error(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"error|undefined reference|cannot find", line)] or lines
    return " | ".join(telling[:2])[:500] or "it gave no message"


@cache
def cross_compiler() -> Compiler:
    """Compiler from this machine to arm64 Linux: the installed one, else the one of `unpacked_cross_compiler`.

    Raises:
        InputError: none is installed and Debian packages can't be fetched here; says what to install.
        DeviceError: the download failed.
    """
    installed = _installed(f"{PHONE_TRIPLET}-gcc", f"{PHONE_TRIPLET}-g++")
    if installed is None and platform.machine() == "aarch64" and platform.system() == "Linux":
        installed = _installed("cc", "c++")
    if installed is None and not debian.available():
        others = (_installed(f"{triplet}-gcc", f"{triplet}-g++") for triplet in _OTHER_TRIPLETS)
        installed = next((compiler for compiler in others if compiler), None)
    try:
        return installed or unpacked_cross_compiler()
    except InputError as error:
        raise InputError(f"no {PHONE_TRIPLET}-g++ that can link a program is in PATH, and Debian's can't be fetched "
                         f"here; a phone's runner is built with one: {INSTALL_CROSS_COMPILER}") from error


@cache
def host_compiler() -> Compiler:
    """Compiler for this machine: the installed one, else the one of `unpacked_host_compiler`. Raises likewise."""
    return _installed("cc", "c++") or _installed("gcc", "g++") or unpacked_host_compiler()


@cache
def unpacked_cross_compiler() -> Compiler:
    """Debian's g++-aarch64-linux-gnu, unpacked into the cache (65 MB of download)."""
    tree = debian.fetch([f"g++-{PHONE_TRIPLET}"])
    return _unpacked(tree, f"{PHONE_TRIPLET}-gcc", f"{PHONE_TRIPLET}-g++")


@cache
def unpacked_host_compiler() -> Compiler:
    """Debian's g++ for this machine, unpacked into the cache (71 MB of download)."""
    return _unpacked(debian.fetch(["g++", "libc6-dev"]), "gcc", "g++")


def _installed(c: str, cxx: str) -> Compiler | None:
    """The installed compiler of these names, if it can link a C++ program (a bare gcc often can't)."""
    paths = shutil.which(c), shutil.which(cxx)
    if paths[0] is None or paths[1] is None:
        return None
    probe = cache_folder("compiled") / "probe.cpp"
    if not probe.exists():
        probe.write_text("#include <vector>\nint main() { return static_cast<int>(std::vector<int>().size()); }\n")
    try:
        compiler = Compiler(Path(paths[0]), Path(paths[1]), _version(Path(paths[1]), {}))
        compiler.compile([probe], "probe")
    except DeviceError:
        return None
    return compiler


def _unpacked(tree: Path, c: str, cxx: str) -> Compiler:
    # gcc looks for the assembler and the linker in PATH where it was not installed.
    environment = {"LD_LIBRARY_PATH": str(_own_libraries(tree)), "PATH": f"{tree / 'usr/bin'}:{os.environ['PATH']}"}
    c_path, cxx_path = tree / "usr/bin" / c, tree / "usr/bin" / cxx
    return Compiler(c_path, cxx_path, f"{_version(cxx_path, environment)} {tree.name}", tree, environment)


def _own_libraries(tree: Path) -> Path:
    """Folder of links to the shared libraries that the unpacked compiler itself runs on, the C library's left out."""
    folder = cache_folder("toolchain", tree.name)
    for place in sorted(tree.glob("usr/lib/*-linux-gnu")) + sorted(tree.glob("lib/*-linux-gnu")):
        for library in place.glob("*.so*"):
            link = folder / library.name
            # Whatever path led to the cache, the link must outlive it: a link of a cache that moved is made anew.
            if not _HOST_ONLY.match(library.name) and library.exists() and not link.exists():
                _link(link, library.resolve())
    return folder


def _link(link: Path, target: Path) -> None:
    partial = link.with_name(f".{link.name}.{os.getpid()}")
    partial.symlink_to(target)
    partial.replace(link)


def _version(driver: Path, environment: Mapping[str, str]) -> str:
    done = subprocess.run([driver, "--version"], env=_environment(environment), capture_output=True,
                          text=True, timeout=60, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise DeviceError(f"{driver} does not run: {_first_error(done.stderr)}")
    return done.stdout.splitlines()[0]
