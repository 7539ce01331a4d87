"""The README's Python example and the guides' long commands, on the deployments that the session's tests share."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deployments import Ran
from tests.guides import DOCS, ROOT, blocks, run

GUIDES = sorted((DOCS / "guides").glob("*.md"))


@pytest.mark.slow
@pytest.mark.timeout(1800)  # may be the first to pay for the deployment
def test_the_readmes_python_example(cpu: Ran, environment: dict[str, str], tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    own = {**environment, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", example]
    done = subprocess.run(words, cwd=tmp_path, env=own, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    assert lines[0].startswith("pixel7-cpu: adaptive") or lines[0].startswith("pixel7-cpu: budgeted")
    assert any(re.fullmatch(r"\d+\.\d\d ms, emulated", line) for line in lines)
    assert any("Configuration(setting='budgeted'" in line and line.endswith("True") for line in lines)
    assert (tmp_path / "mask.png").is_file() and (tmp_path / "runs/pixel7-cpu/deployment/manifest.json").is_file()


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_every_command_of_the_guides(guide: Path, cpu: Ran, environment: dict[str, str], tmp_path: Path) -> None:
    for block in blocks(guide):
        if block.when in ("run", "run slow"):
            run(block, tmp_path, environment)
