"""The compilers, above all the unpacked ones: what they build really runs, on this machine and on the phone."""

import dataclasses
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from device_profiler import debian, toolchain
from device_profiler.errors import DeviceError, InputError
from device_profiler.toolchain import Compiler, Language
from device_profiler.transport import Transport

pytestmark = pytest.mark.skipif(not debian.available(), reason="Debian packages can't be fetched here")
CXX17 = ("-std=c++17", "-O2", "-pthread")


@pytest.fixture
def compiler() -> Iterator[Compiler]:
    yield toolchain.host_compiler()


def test_the_unpacked_cross_compiler_builds_what_the_phone_runs(
    threaded_source: Path, transport: Transport
) -> None:
    cross = toolchain.unpacked_cross_compiler()
    assert cross.sysroot is not None
    program = cross.compile([threaded_source], "threaded", flags=CXX17)
    transport.push(program, "/data/local/tmp/threaded")
    result = transport.shell("/data/local/tmp/threaded")
    assert (result.exit_code, result.output) == (0, "sum 14\ncaught\n")


@pytest.mark.parametrize("language", ["c", "c++"])
@pytest.mark.parametrize("make", [toolchain.unpacked_cross_compiler, toolchain.unpacked_host_compiler])
def test_an_unpacked_compiler_wants_no_tool_of_this_machine(
    make: Callable[[], Compiler], language: Language, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = make()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    source = tmp_path / ("empty.c" if language == "c" else "empty.cpp")
    source.write_text("int main(void) { return 0; }\n")
    own_path = compiler.environment["PATH"].split(":")[0]
    alone = dataclasses.replace(compiler, environment={**compiler.environment, "PATH": own_path})
    assert alone.compile([source], "alone", flags=["-static"], language=language).exists()


def test_the_unpacked_host_compiler_builds_what_this_machine_runs(threaded_source: Path) -> None:
    host = toolchain.unpacked_host_compiler()
    assert host.sysroot is not None
    program = host.compile([threaded_source], "threaded", flags=CXX17)
    assert subprocess.run([program], capture_output=True, text=True).stdout == "sum 14\ncaught\n"


@pytest.mark.parametrize("make", [toolchain.unpacked_cross_compiler, toolchain.unpacked_host_compiler])
def test_an_unpacked_compiler_runs_on_its_own_libraries(make: Callable[[], Compiler]) -> None:
    """Nothing but the C library (and what belongs to it) may come from this machine: it need not be installed there."""
    compiler = make()
    tree = compiler.sysroot
    assert tree is not None
    tools = [*tree.glob("usr/lib/gcc*/*/*/cc1plus"), *tree.glob("usr/lib/gcc*/*/*/collect2"),
             *tree.glob("usr/bin/*as"), *tree.glob("usr/bin/*ld.bfd")]
    assert len(tools) >= 4
    for tool in tools:
        listed = subprocess.run(["ldd", tool], capture_output=True, text=True, env=dict(compiler.environment)).stdout
        foreign = [line.split()[0] for line in listed.splitlines() if "/" in line and "/toolchain/" not in line]
        names = {re.split(r"[.-]", Path(name).name)[0] for name in foreign}
        assert names <= {"libc", "libm", "libstdc++", "libgcc_s", "ld"}


def test_the_libraries_are_found_after_the_cache_was_reached_by_another_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = toolchain.cache_folder("debian").resolve()
    (kept := tmp_path / "kept").mkdir()
    for name in ("first", "second"):
        (tmp_path / name / "mess-deploy").mkdir(parents=True)
        (tmp_path / name / "mess-deploy" / "debian").symlink_to(packages)
        (tmp_path / name / "mess-deploy" / "toolchain").symlink_to(kept)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))
        libraries = Path(toolchain.unpacked_host_compiler.__wrapped__().environment["LD_LIBRARY_PATH"])
        library = libraries / "libgmp.so.10"
        assert library.resolve().is_relative_to(packages) and str(tmp_path) not in str(library.readlink())
        library.unlink()
        library.symlink_to(tmp_path / "gone")  # what a cache that moved leaves behind


@pytest.mark.parametrize("script", ['[ "$1" = --version ] && echo "fake 1.0" || exit 1', "exit 1"])
def test_an_installed_cross_compiler_that_can_not_link_is_passed_over(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("gcc", "g++"):
        fake = tmp_path / f"{toolchain.PHONE_TRIPLET}-{name}"
        fake.write_text(f"#!/bin/sh\n{script}\n")
        fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert toolchain.cross_compiler.__wrapped__() == toolchain.unpacked_cross_compiler()


def test_the_result_is_kept_until_something_changes(compiler: Compiler, tmp_path: Path) -> None:
    source, header = tmp_path / "answer.c", tmp_path / "answer.h"
    header.write_text("#define ANSWER 41\n")
    source.write_text('#include "answer.h"\nint main(void) { return ANSWER; }\n')
    first = compiler.compile([source], "answer", language="c")
    assert compiler.compile([source], "answer", language="c") == first
    assert compiler.compile([source], "answer", language="c", flags=["-O2"]) != first
    header.write_text("#define ANSWER 42\n")
    assert subprocess.run([compiler.compile([source], "answer", language="c")]).returncode == 42


def test_what_the_compiler_refuses_is_told_in_one_line(compiler: Compiler, tmp_path: Path) -> None:
    source = tmp_path / "wrong.cpp"
    source.write_text("int main() { return missing_name; }\n")
    with pytest.raises(DeviceError, match=r"can't compile wrong: .*error: .*missing_name") as caught:
        compiler.compile([source], "wrong")
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"absent\.cpp does not exist"):
        compiler.compile([tmp_path / "absent.cpp"], "wrong")
