"""The Python API: light to import, every flag a keyword, the command line's errors, typed results."""

import inspect
import json
import logging
import os
import pkgutil
import subprocess
import sys
from dataclasses import is_dataclass
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest

import pipeline
from device_profiler.errors import InfeasibleError, InputError
from pipeline import api
from pipeline.__main__ import verb_module
from pipeline.api_calls import words_of
from pipeline.cli.parser import Parser, verb_parser
from tests.provocations.folders import searches

ROOT = Path(__file__).parents[2]
UNMIRRORED = {"help", "json", "save_config"}
STANDS_FOR = {
    "train": {"share", "together"}, "deploy": {"fleet"}, "search": {"front"},
    "profile": {"devices", "sustained", "part"},
}  # fmt: skip
"""By verb: flags that have a function of their own."""


def options(verb: str) -> set[str]:
    return {action.dest for action in verb_parser(verb, verb_module(verb))._actions} - UNMIRRORED


@pytest.mark.parametrize("verb", ["deploy", "train", "evaluate", "profile", "search", "export"])
def test_every_flag_has_a_keyword(verb: str) -> None:
    assert set(inspect.signature(getattr(api, verb)).parameters) == options(verb) - STANDS_FOR.get(verb, set())


@pytest.mark.parametrize(
    ("function", "options"), [("profile", "ProfileOptions"), ("deploy", "DeployOptions"), ("train", "TrainOptions")]
)
def test_what_is_passed_on_has_its_types(function: str, options: str) -> None:
    keywords = dict(inspect.signature(getattr(api, function)).parameters)
    keywords.pop("target", None)
    assert {name: given.annotation for name, given in keywords.items()} == get_type_hints(getattr(api, options))


def test_every_option_of_run_and_report_has_a_function() -> None:
    common = {"config", "run"}
    keywords = {name for f in (api.run, api.self_check) for name in inspect.signature(f).parameters}
    assert keywords | {"self_check"} | common == options("run")
    assert {"run", "compare", "output", "verbose", "config"} == options("report")


@pytest.mark.parametrize("name", pipeline.FUNCTIONS)
def test_the_package_gives_every_function(name: str) -> None:
    assert getattr(pipeline, name) is getattr(api, name)
    assert inspect.isfunction(getattr(pipeline, name))


def test_no_module_has_the_name_of_a_function() -> None:
    """It would take the function's place when it is imported; or the function its place in `import ... as ...`."""
    modules = {module.name for module in pkgutil.iter_modules(pipeline.__path__)}
    assert not modules & set(pipeline.FUNCTIONS) and "api" in modules
    import pipeline.exact_search.objective as objective

    assert inspect.ismodule(objective) and inspect.isfunction(pipeline.search)


def modules_after(script: str) -> set[str]:
    words = [sys.executable, "-c", f"{script}\nimport sys\nprint(*sys.modules, file=sys.stderr)"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    return set(done.stderr.split())


def test_importing_the_package_or_a_function_imports_nothing_heavy() -> None:
    bare = modules_after("pass")
    added = {name.split(".")[0] for name in modules_after("import pipeline") - bare}
    assert added <= {"pipeline"} | sys.stdlib_module_names
    added = modules_after("from pipeline import deploy") - bare
    assert not {name.split(".")[0] for name in added} & {"torch", "numpy", "msgspec", "PIL", "sqlalchemy", "rich"}


def test_help_imports_little() -> None:
    added = modules_after("from pipeline.__main__ import usage\nusage()") - modules_after("pass")
    assert not {name.split(".")[0] for name in added} & {"torch", "numpy", "PIL", "sqlalchemy", "rich", "numba"}
    assert len(added) < 120, sorted(added)


def test_a_search_gives_typed_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    searches(tmp_path)
    found = pipeline.search(run=tmp_path, setting="budgeted", max_latency="2ms")
    assert is_dataclass(found)
    assert (found.configuration.exits, found.configuration.heads, found.optimal) == ((0,), ("fcn",), True)
    assert found.latency_ns == pytest.approx(1.1e6)
    points = pipeline.front(run=tmp_path, setting="budgeted").points
    assert [point.configuration.exits for point in points] == [(0,), (1,)]
    assert capsys.readouterr().out == ""


def test_a_certified_search_tells_its_certificate(tmp_path: Path) -> None:
    searches(tmp_path)
    arrays = dict(np.load(tmp_path / "statistics.npz"))
    many = {name: np.repeat(arrays[name], 100, axis=2) for name in ("confidence", "intersection", "union")}
    np.savez(tmp_path / "certify.npz", **arrays | many | {"images": np.array([f"c{i}" for i in range(400)])})
    found = pipeline.search(run=tmp_path, certify=tmp_path / "certify.npz", risk=0.9, delta=0.1, setting="budgeted")
    assert found.certificate is not None and found.certificate.epsilon == 0.9


def test_bad_input_raises_what_the_command_line_says(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown target 'pixel7-tpu'; did you mean 'pixel7-npu'"):
        pipeline.deploy("pixel7-tpu")
    with pytest.raises(InputError, match="'30' has no unit"):
        pipeline.search(max_latency="30")
    searches(tmp_path)
    with pytest.raises(InfeasibleError, match="nearest feasible"):
        pipeline.search(run=tmp_path, max_latency="1us")


def test_what_a_command_silences_is_given_back(tmp_path: Path) -> None:
    before = logging.root.manager.disable, os.environ.get("PYTHONWARNINGS")
    with pytest.raises(InputError, match="no checkpoint at"):
        pipeline.evaluate(tmp_path, preset="smoke")
    assert (logging.root.manager.disable, os.environ.get("PYTHONWARNINGS")) == before


def test_words_state_the_options() -> None:
    parser = Parser(prog="p")
    parser.add_argument("image")
    parser.add_argument("--max-latency")
    parser.add_argument("--exits")
    parser.add_argument("--deadline", action="append", default=[])
    parser.add_argument("--compare", nargs="+")
    parser.add_argument("--front", action="store_true")
    given = {"image": "a.png", "max_latency": "30ms", "exits": (2, 5), "deadline": ("1ms", "2ms"), "front": True}
    words = words_of(parser, {**given, "compare": ("a", "b"), "unknown": 1})
    assert words == ["--max-latency=30ms", "--exits=2,5", "--deadline=1ms", "--deadline=2ms", "--compare", "a", "b",
                     "--front", "a.png"]  # fmt: skip
    assert vars(parser.parse_args(words))["exits"] == "2,5"


def test_the_command_line_still_prints(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "pipeline", "targets", "--json"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert {target["name"] for target in json.loads(done.stdout)["targets"]} >= {"pixel7-cpu", "pixel7-npu"}
    assert {target.name for target in pipeline.targets()} >= {"pixel7-cpu", "pixel7-npu"}
