"""Kotlin and Swift of a bundle through the real compilers, and what they compute held against the Python reference.

Kotlin's compiler is npm's package kotlin-compiler (needs java and npm), Android's org.json a Debian package. Swift's is
the one on PATH, or Debian's: `python -c "from device_profiler import debian; debian.fetch(['swiftlang'],
suite='trixie')"` unpacks it (2 GB) into the cache. Android's and Apple's libraries are stubs: signatures only.
"""

import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from device_profiler import debian
from device_profiler.files import cache_folder
from mobile_export import glue
from mobile_export.bundle import Bundle
from mobile_export.glue.python.cascade import rgb_from_420v, rgb_from_nv21

GLUE, HERE = Path(glue.__file__).parent, Path(__file__).parent
KOTLIN = "kotlin-compiler@2.4.20"
SWIFT_SUITE = "trixie"
pytestmark = pytest.mark.slow


def run(command: list[str | Path], **settings: object) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=550, **settings)  # type: ignore[call-overload]
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return str(done.stdout)


def frame() -> np.ndarray:
    return np.random.default_rng(6).integers(0, 256, 48 * 64 * 3 // 2, dtype=np.uint8)


def close(found: Path, expected: np.ndarray) -> bool:
    values = np.fromfile(found, np.uint8).reshape(expected.shape).astype(int)
    return bool(np.abs(values - expected.astype(int)).max() <= 1)


@pytest.fixture(scope="module")
def kotlin_home() -> Path:
    if not all(map(shutil.which, ("java", "javac", "npm"))):
        pytest.skip("Kotlin's compiler needs java, javac and npm")
    home = cache_folder("kotlin") / KOTLIN
    if not (home / "package").is_dir():
        home.mkdir(parents=True, exist_ok=True)
        run(["npm", "pack", "--silent", KOTLIN], cwd=home)
        with tarfile.open(next(home.glob("*.tgz"))) as archive:
            archive.extractall(home, filter="data")
    return home / "package"


def test_kotlin_compiles_and_computes_as_python(
    kotlin_home: Path, bundle: Bundle, frame_bundle: Bundle, tmp_path: Path
) -> None:
    if not debian.available():
        pytest.skip("Android's org.json is a Debian package")
    place = debian.fetch(["libandroid-json-org-java"], suite="bookworm", dependencies=False)
    json_jar = next(place.rglob("json-android-*.jar"))
    stubs, classes = tmp_path / "stubs", tmp_path / "classes"
    run(["javac", "-d", stubs, *sorted((HERE / "stubs" / "java").rglob("*.java"))])
    sources = [*sorted((GLUE / "kotlin").glob("*.kt")), HERE / "stubs" / "Harness.kt"]
    compiler = ["java", "-Xmx1g", "-cp", f"{kotlin_home}/lib/*", "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler"]
    path = f"{json_jar}:{stubs}"
    run([*compiler, "-Werror", "-no-reflect", "-kotlin-home", kotlin_home, "-cp", path, "-d", classes, *sources])
    path = f"{classes}:{path}:{kotlin_home}/lib/kotlin-stdlib.jar"
    for one in (bundle, frame_bundle):
        check(["java", "-cp", path, "messdeploy.HarnessKt"], one, tmp_path)
    assert close(tmp_path / "frame.rgb", rgb_from_nv21(frame(), (48, 64)))


@dataclass(frozen=True)
class Swift:
    """How to call swift-frontend, and the flags that find its library."""

    command: tuple[str | Path, ...]
    flags: tuple[str | Path, ...]


@pytest.fixture(scope="module")
def swift() -> Swift:
    if found := shutil.which("swift-frontend"):
        return Swift((found,), ())
    trees = sorted(cache_folder("debian").glob(f"{SWIFT_SUITE}-amd64/unpacked/swiftlang-*"))
    if not trees or sys.platform != "linux":
        pytest.skip("no Swift compiler on PATH, and Debian's is not in the cache")
    usr = trees[0] / "usr"
    library = usr / "libexec" / "swift" / "lib" / "swift"
    libraries = (usr / "lib" / "x86_64-linux-gnu", library / "linux", library / "host" / "compiler", library.parent)
    loader = (usr / "lib64" / "ld-linux-x86-64.so.2", "--library-path", ":".join(map(str, libraries)))
    flags = ("-resource-dir", library, "-sdk", "/", "-target", "x86_64-pc-linux-gnu")
    return Swift((*loader, usr / "libexec" / "swift" / "bin" / "swift-frontend"), flags)


@pytest.mark.parametrize("library", ["ExecuTorch", "CoreML"])
def test_swift_type_checks(swift: Swift, library: str, tmp_path: Path) -> None:
    flags = (*swift.flags, "-module-cache-path", tmp_path / "cache")
    stub, module = HERE / "stubs" / "swift" / f"{library}.swift", tmp_path / f"{library}.swiftmodule"
    run([*swift.command, "-emit-module", *flags, "-parse-as-library", "-module-name", library, stub, "-o", module])
    sources = [GLUE / "swift" / name for name in ("Bundle.swift", "Camera.swift", f"{library}Model.swift")]
    warnings = ("-warnings-as-errors",)
    run([*swift.command, "-typecheck", *flags, *warnings, "-I", tmp_path, "-module-name", "Glue", *sources])


def test_swift_computes_as_python(swift: Swift, bundle: Bundle, frame_bundle: Bundle, tmp_path: Path) -> None:
    parts = [GLUE / "swift" / "Bundle.swift", GLUE / "swift" / "Camera.swift", HERE / "stubs" / "harness.swift"]
    whole = tmp_path / "main.swift"
    whole.write_text("\n".join(part.read_text() for part in parts))
    flags = (*swift.flags, "-module-cache-path", tmp_path / "cache", "-module-name", "main")
    for one in (bundle, frame_bundle):
        check([*swift.command, "-interpret", *flags, whole, "--"], one, tmp_path)
    y, pairs = frame()[: 48 * 64].reshape(48, 64), frame()[48 * 64 :].reshape(24, 32, 2)
    assert close(tmp_path / "frame.rgb", rgb_from_420v(y, pairs))


def check(command: list[str | Path], bundle: Bundle, place: Path) -> None:
    """A harness converts a frame, resizes, filters labels, and drives the cascade over scripted confidences."""
    frame().tofile(place / "frame.raw")
    image = bundle.folder / "self_check" / "sample.ppm"
    lines = run([*command, bundle.folder, image, place], env=dict(os.environ)).splitlines()
    with Image.open(image) as sample:
        expected = np.asarray(sample.resize((40, 27), Image.Resampling.BILINEAR))
    assert np.array_equal(np.fromfile(place / "small.rgb", np.uint8).reshape(expected.shape), expected)
    assert lines[0].split() == ["labels", *"33335553"]
    assert lines[1].split() == ["exits", *"010100001"]
    assert lines[2] == "deadline 0 1"
    assert lines[3] == "labels 64x64"
    assert lines[4] == "refused"
