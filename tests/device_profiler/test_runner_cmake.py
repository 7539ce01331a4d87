"""The runner by CMake: the same sources, built against the installed wheel, give the same outputs."""

import platform
import shutil
import subprocess
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from deployed import EXECUTORCH, OUTPUTS
from local_transport import LocalTransport

from device_profiler.runner.build import build_runner
from device_profiler.runner.client import Runner, program_folder

CMAKE_FILE = Path(__file__).parents[2] / "device_profiler" / "runner"


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("cmake") and shutil.which("c++")), reason="CMake or a C++ compiler is missing")
@pytest.mark.skipif(platform.system() != "Linux", reason="the wheel's libraries are linked with ELF options")
def test_what_cmake_builds_gives_the_same_outputs(tmp_path: Path, deployments: Path) -> None:
    build = tmp_path / "build"
    package = Path(str(metadata.distribution("executorch").locate_file("executorch")))
    for command in (["-S", CMAKE_FILE, "-B", build, f"-DCMAKE_PREFIX_PATH={package}"], ["--build", build]):
        done = subprocess.run(["cmake", *command], capture_output=True, text=True, timeout=550)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    program = replace(build_runner("executorch", "host"), key="cmake")
    folder = Path(program_folder(str(tmp_path), program))
    folder.mkdir(parents=True)
    shutil.copy(build / "executorch_runner", folder / program.program)
    expected = EXECUTORCH.expected(deployments)
    runner = Runner(LocalTransport(), program, str(tmp_path))
    results = runner.run(EXECUTORCH.path(deployments), EXECUTORCH.calls(deployments), warmup=0, iterations=1)
    assert [result.entry for result in results] == list(OUTPUTS)
    for result in results:
        for index, output in enumerate(result.outputs):
            reference = expected[f"{result.entry}.{index}"][0]
            np.testing.assert_allclose(output, reference, rtol=0, atol=EXECUTORCH.tolerance)
