"""A bundle elsewhere and a new virtual environment with nothing but the runtime: the reference code reproduces it."""

import shutil
import subprocess
import sys
import venv
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobile_export.bundle import Bundle

PLAIN = ("numpy", "pillow")
TORCH = ("torch", "torchgen", "functorch", "sympy", "mpmath", "networkx", "jinja2", "markupsafe", "filelock", "fsspec")
"""What ExecuTorch's wheel stands on: linked in, since torch's own wheel is gigabytes."""
PROJECT = ("pipeline", "mobile_export", "device_profiler", "msgspec")


def environment(folder: Path, packages: tuple[str, ...], *flags: str) -> Path:
    """Python of a new environment with these packages, at the versions installed here."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    pinned = [f"{name}=={metadata.version(name)}" for name in packages]
    subprocess.run([python, "-m", "pip", "install", "--quiet", *flags, *pinned], check=True, timeout=540)
    return python


def link_torch(python: Path) -> None:
    """Link torch and what it imports into the environment."""
    place = next((python.parents[1] / "lib").glob("python*/site-packages"))
    here = Path(str(metadata.distribution("torch").locate_file("")))
    for name in (*TORCH, "torch.libs", "typing_extensions.py"):
        if (here / name).exists():
            (place / name).symlink_to(here / name)


def reproduces(python: Path, bundle: Bundle, place: Path) -> None:
    """The copied bundle's reference passes its self-check and gives the expected mask, the project out of reach."""
    expected = bundle.expected_labels()
    copy, empty = place / "app" / "assets", place / "empty"
    shutil.copytree(bundle.folder, copy)
    shutil.rmtree(bundle.folder)
    empty.mkdir()
    for name in PROJECT:
        found = subprocess.run([python, "-c", f"import {name}"], cwd=empty, capture_output=True, text=True)
        assert "ModuleNotFoundError" in found.stderr, f"{name} is within reach: this shows nothing"
    words = ["--self-check", str(copy / "sample.png"), "--output", str(empty / "mask.png")]
    done = subprocess.run(
        [python, copy / "glue" / "python" / "cascade.py", *words],
        cwd=empty, env={"PATH": ""}, capture_output=True, text=True, timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("1.0000 of the labels agree") == 2
    assert np.array_equal(np.asarray(Image.open(empty / "mask.png")), expected)


@pytest.mark.slow
def test_litert_alone(bundle: Bundle, tmp_path: Path) -> None:
    reproduces(environment(tmp_path / "venv", ("ai-edge-litert", *PLAIN)), bundle, tmp_path)


@pytest.mark.slow
def test_executorch_with_the_torch_it_stands_on(pte_bundle: Bundle, tmp_path: Path) -> None:
    packages = ("executorch", "flatbuffers", "ruamel.yaml", "tabulate", *PLAIN)
    python = environment(tmp_path / "venv", packages, "--no-deps")
    link_torch(python)
    reproduces(python, pte_bundle, tmp_path)


def test_a_missing_runtime_is_one_line(bundle: Bundle, tmp_path: Path) -> None:
    script = bundle.folder / "glue" / "python" / "cascade.py"
    hide = (
        "import runpy, sys; sys.modules['ai_edge_litert'] = None; sys.modules['tflite_runtime'] = None; "
        f"sys.argv = ['cascade.py', '--self-check']; runpy.run_path({str(script)!r}, run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-I", "-c", hide], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: model.tflite needs LiteRT: pip install ai-edge-litert\n"
