"""Without apt and dpkg the runner comes from an installed cross compiler alone, and runs on a phone as any other."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from deployed import EXECUTORCH, middle, plan

from device_profiler import debian, toolchain
from device_profiler.errors import InputError
from device_profiler.files import cache_folder
from device_profiler.runner.build import build_runner
from device_profiler.runner.client import install
from device_profiler.runner.wheels import wheel_folder
from device_profiler.toolchain import PHONE_TRIPLET, Compiler
from device_profiler.transport import Transport

pytestmark = pytest.mark.skipif(not debian.available(), reason="the cross compiler that stands in for an installed one")
ROOT = Path(__file__).parents[2]


def install_compiler(compiler: Compiler, folder: Path, *, triplet: str = PHONE_TRIPLET, before: str = "") -> None:
    """Commands in `folder` that are the unpacked cross compiler as a distribution would install it.

    `before`: shell lines that see the arguments first, to inject faults.
    """
    surroundings = " ".join(f"{name}={shlex.quote(value)}" for name, value in compiler.environment.items())
    for name, program in (("gcc", compiler.c), ("g++", compiler.cxx)):
        command = folder / f"{triplet}-{name}"
        command.write_text(
            f'#!/bin/sh\n{before}\nexport {surroundings}\nexec {program} --sysroot={compiler.sysroot} "$@"\n'
        )
        command.chmod(0o755)


@pytest.fixture(scope="module")
def cross() -> Compiler:
    return toolchain.unpacked_cross_compiler()


@pytest.fixture
def commands(
    cross: Compiler, deployments: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """The only folder in PATH, empty: no apt, no dpkg, no compiler; and a cache with nothing but the wheels."""
    wheels = wheel_folder("executorch", "phone").parent
    folder, cache = tmp_path / "bin", tmp_path / "cache" / "mess-deploy"
    folder.mkdir()
    cache.mkdir(parents=True)
    (cache / "wheels").symlink_to(wheels)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parent))
    caches = (toolchain.cross_compiler, toolchain.unpacked_cross_compiler)
    for kept in caches:
        kept.cache_clear()
    yield folder
    for kept in caches:
        kept.cache_clear()


def contents(archive: Path) -> dict[str, str]:
    """SHA-256 of each file of a tar file."""
    with tarfile.open(archive) as tar:
        return {member.name: sha256(tar.extractfile(member).read()).hexdigest() for member in tar if member.isfile()}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "triplet", [PHONE_TRIPLET, pytest.param("aarch64-unknown-linux-gnu", marks=pytest.mark.slow)]
)
def test_an_installed_compiler_alone_builds_what_the_phone_runs(
    triplet: str, transport: Transport, commands: Path, cross: Compiler, deployments: Path, tmp_path: Path
) -> None:
    install_compiler(cross, commands, triplet=triplet)
    assert shutil.which("apt-get") is None and shutil.which("dpkg-deb") is None and not debian.available()

    root = f"/data/local/tmp/{tmp_path.name}"
    runner, expected = install(transport, "executorch", root=root), EXECUTORCH.expected(deployments)
    confidences = EXECUTORCH.confidences(deployments)
    threshold = middle(confidences)
    results = runner.run_cascade(
        EXECUTORCH.path(deployments), plan(threshold), list(expected["images"]), warmup=0, iterations=1
    )
    transport.shell(f"rm -rf {root}")

    exits = [0 if confidence >= np.float32(threshold) else 1 for confidence in confidences]
    assert [result.exit for result in results] == exits and set(exits) == {0, 1}
    for index, result in enumerate(results):
        np.testing.assert_array_equal(result.labels, EXECUTORCH.labels(deployments, result.exit)[index])
    assert not (cache_folder() / "debian").exists(), "nothing was fetched"
    pushed, sysroot = contents(runner.program.archive), cross.sysroot
    assert sysroot is not None
    for name in ("ld-linux-aarch64.so.1", "libc.so.6", "libstdc++.so.6"):
        own = sysroot / "usr" / PHONE_TRIPLET / "lib" / name
        assert pushed[name] == sha256(own.read_bytes()).hexdigest()


@pytest.mark.slow
def test_another_c_library_is_another_runner(commands: Path, cross: Compiler, tmp_path: Path) -> None:
    install_compiler(cross, commands)
    first = build_runner("executorch")
    assert build_runner("executorch") == first
    libm = cross.library("libm.so.6")
    assert libm is not None
    newer = tmp_path / "libm.so.6"
    newer.write_bytes(libm.read_bytes() + b"newer")
    answer = f'[ "$1" = -print-file-name=libm.so.6 ] && echo {newer} && exit'
    install_compiler(cross, commands, before=answer)

    second = build_runner("executorch")
    assert second.key != first.key and second.archive != first.archive
    assert contents(second.archive)["libm.so.6"] == sha256(newer.read_bytes()).hexdigest()
    assert len(list(cache_folder("compiled").rglob("executorch_runner"))) == 2, "linked anew"
    install_compiler(cross, commands)
    assert build_runner("executorch") == first


@pytest.mark.parametrize("answer", ["libstdc++.so.6", sys.executable], ids=["absent", "another machine's"])
def test_a_compiler_without_its_c_libraries_is_told_with_what_to_install(
    answer: str, commands: Path, cross: Compiler
) -> None:
    install_compiler(
        cross, commands, before=f'[ "$1" = -print-file-name=libstdc++.so.6 ] && echo {answer} && exit'
    )
    with pytest.raises(InputError, match=r"has no arm64 libstdc\+\+\.so\.6, .*Arch: aarch64-linux-gnu-gcc") as caught:
        build_runner("executorch")
    assert "\n" not in str(caught.value)


def test_no_compiler_at_all_is_told_with_what_to_install(commands: Path) -> None:
    with pytest.raises(InputError, match=r"no aarch64-linux-gnu-g\+\+ .*: install an aarch64 cross g\+\+"):
        build_runner("executorch")


@pytest.mark.slow
def test_doctor_prepares_the_runners_without_apt(commands: Path, cross: Compiler) -> None:
    install_compiler(cross, commands)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "pipeline", "doctor", "--prepare", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    for name in ("arm64 compiler", "runner for executorch", "runner for litert"):
        assert checks[name]["state"] == "works", checks[name]
    for name in ("apt", "emulated phone", "emulated phone boots", "sample data"):
        assert checks[name]["state"] == "missing" and checks[name]["remedy"]
