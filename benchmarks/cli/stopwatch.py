"""From clone to first deployment, stage by stage; and what `--help` costs beside a bare interpreter.

`python benchmarks/cli/stopwatch.py --target pixel7-npu` clones this repository into a temporary folder with an empty
cache, sets it up and deploys there, each command by the clock. `--checkout FOLDER` reads the same from a checkout in
which `make deploy` has run for the first time, by the times of its files. `--help-only` keeps the deployment that was
timed last.
Writes results/stopwatch.json: wall seconds on this machine, and CPU seconds of the imports.
"""

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from device_profiler.files import write_atomic

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results" / "stopwatch.json"
REPETITIONS = 7


class Timed(msgspec.Struct, frozen=True):
    """A stage and its wall time; `beside`: the stage that it ran at the same time as."""

    stage: str
    seconds: float
    beside: str = ""


class FirstDeployment(msgspec.Struct, frozen=True):
    """From `git clone` to report.html with an empty cache; `steps` follow each other, `deploy` are a step's stages."""

    target: str
    commit: str
    seconds: float
    steps: tuple[Timed, ...]
    deploy: tuple[Timed, ...]


class HelpCost(msgspec.Struct, frozen=True):
    """CPU seconds (user and system), least of several runs, of `python -m pipeline --help` and `python -c pass`."""

    help_seconds: float
    bare_seconds: float
    ratio: float
    modules: int


class Results(msgspec.Struct, frozen=True):
    """What this script writes."""

    machine: str
    python: str
    help: HelpCost
    first_deployment: FirstDeployment | None


class _StageTime(msgspec.Struct):
    stage: str
    seconds: float
    beside: str = ""


class _Report(msgspec.Struct):
    """What is read of report.json."""

    stages: tuple[_StageTime, ...]


def cpu_seconds(words: Sequence[str]) -> float:
    """CPU seconds of a command that succeeds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def help_cost() -> HelpCost:
    """The least of several runs of each: what else runs on the machine only adds."""
    shown = min(cpu_seconds([sys.executable, "-m", "pipeline", "--help"]) for _ in range(REPETITIONS))
    bare = min(cpu_seconds([sys.executable, "-c", "pass"]) for _ in range(REPETITIONS))
    count = "import sys\nfrom pipeline.__main__ import usage\nusage()\nprint(len(sys.modules))"
    modules = subprocess.run([sys.executable, "-c", count], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return HelpCost(shown, bare, shown / bare, int(modules))


def deploy_from_clone(target: str) -> FirstDeployment:
    """Clone, set up and deploy in a folder and with a cache that are thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        checkout, cache = Path(folder) / "checkout", Path(folder) / "cache"
        environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
        python = str(checkout / ".venv" / "bin" / "python")
        commands = (
            ("clone", ["git", "clone", "--quiet", str(ROOT), str(checkout)], Path(folder)),
            ("install", ["make", ".venv/installed"], checkout),
            ("prepare", [python, "-m", "pipeline", "doctor", "--prepare"], checkout),
            ("deploy", [python, "-m", "pipeline", "deploy", "--target", target], checkout),
        )
        steps = tuple(_clocked(name, words, place, environment) for name, words, place in commands)
        stages = read_stages(checkout / "runs" / target)
        return FirstDeployment(target, _commit(checkout), sum(step.seconds for step in steps), steps, stages)


def _clocked(name: str, words: Sequence[str], place: Path, environment: dict[str, str]) -> Timed:
    begun = time.monotonic()
    subprocess.run(words, cwd=place, env=environment, check=True, stdout=sys.stderr)
    return Timed(name, time.monotonic() - begun)


def deployment_in(checkout: Path, target: str) -> FirstDeployment:
    """A first `make deploy` that has run in `checkout`, by the times at which its files were written."""
    run = checkout / "runs" / target
    moments = [
        path.stat().st_mtime
        for path in (checkout / ".venv/pyvenv.cfg", checkout / ".venv/installed", run / "config.toml",
                     run / "report.html")
    ]  # fmt: skip
    names = ("install", "prepare and start", "deploy")
    steps = tuple(
        Timed(name, end - begin) for name, begin, end in zip(names, moments[:-1], moments[1:], strict=True)
    )
    return FirstDeployment(target, _commit(checkout), moments[-1] - moments[0], steps, read_stages(run))


def read_stages(run: Path) -> tuple[Timed, ...]:
    """The stages of a run as its report.json tells them."""
    report = msgspec.json.decode((run / "report.json").read_bytes(), type=_Report)
    return tuple(Timed(stage.stage, stage.seconds, stage.beside) for stage in report.stages)


def _commit(checkout: Path) -> str:
    words = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(words, cwd=checkout, check=True, capture_output=True, text=True).stdout.strip()


def told(results: Results) -> list[str]:
    """The results as lines for people."""
    cost, first = results.help, results.first_deployment
    lines = [f"--help: {cost.help_seconds:.3f} s of CPU, {cost.ratio:.1f} times a bare interpreter, "
             f"{cost.modules} modules"]  # fmt: skip
    if first is None:
        return lines
    lines.append(f"clone to first deployment of {first.target}: {first.seconds / 60:.1f} min")
    lines += [f"  {step.stage:<40} {step.seconds:7.1f} s" for step in first.steps]
    beside = [f"  (beside {stage.beside})" if stage.beside else "" for stage in first.deploy]
    inner = [f"    {s.stage:<38} {s.seconds:7.1f} s{note}" for s, note in zip(first.deploy, beside, strict=True)]
    return lines + inner


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--target", default="pixel7-npu")
    parser.add_argument("--checkout", type=Path, help="a checkout in which `make deploy` ran for the first time")
    parser.add_argument("--help-only", action="store_true")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    first = None
    if arguments.checkout:
        first = deployment_in(arguments.checkout, arguments.target)
    elif not arguments.help_only:
        first = deploy_from_clone(arguments.target)
    elif arguments.output.exists():
        first = msgspec.json.decode(arguments.output.read_bytes(), type=Results).first_deployment
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    results = Results(machine, platform.python_version(), help_cost(), first)
    print("\n".join(told(results)))
    write_atomic(arguments.output, msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")


if __name__ == "__main__":
    main()
