"""`--target` once or several times, `--fleet`, and files that hold either; errors before anything heavy is imported."""

import argparse
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from device_profiler.errors import InputError
from pipeline.__main__ import verb_module
from pipeline.cli.deploy_targets import chosen_targets
from pipeline.cli.deploying_fleet import _mixed
from pipeline.cli.parser import parse, resolved_options, verb_parser

ROOT = Path(__file__).parents[2]


def parsed(*words: str, verb: str = "deploy") -> argparse.Namespace:
    return parse(verb_parser(verb, verb_module(verb)), words)


def names(*words: str) -> list[str]:
    return [target.name for target in chosen_targets(parsed(*words))]


def file(folder: Path, text: str) -> str:
    path = folder / "c.toml"
    path.write_text(text)
    return str(path)


def test_one_target_is_a_text_wherever_it_is_written(tmp_path: Path) -> None:
    saved = tmp_path / "saved.toml"
    parsed("--target", "pixel7-cpu", "--save-config", str(saved))
    assert tomllib.loads(saved.read_text())["target"] == "pixel7-cpu"
    for text in ('target = "pixel7-cpu"', 'target = ["pixel7-cpu"]'):
        arguments = parsed("--config", file(tmp_path, text))
        assert [target.name for target in chosen_targets(arguments)] == ["pixel7-cpu"]
        assert resolved_options(arguments)["target"] == "pixel7-cpu"
        assert "fleet" not in resolved_options(arguments)


def test_a_fleet_is_repeated_by_its_file(tmp_path: Path) -> None:
    saved, wanted = tmp_path / "saved.toml", ["pixel7-npu", "galaxy-s23-cpu"]
    words = [word for name in wanted for word in ("--target", name)]
    assert names("--fleet", *words) == wanted
    parsed("--fleet", *words, "--save-config", str(saved))
    assert names("--config", str(saved)) == wanted


@pytest.mark.parametrize("text", ['target = "pixel7-npu"', 'fleet = true\ntarget = ["pixel7-npu", "galaxy-s23-cpu"]'])
def test_targets_of_the_command_line_win_over_a_files(text: str, tmp_path: Path) -> None:
    config = file(tmp_path, text)
    assert names("--config", config, "--target", "pixel7-cpu") == ["pixel7-cpu"]
    several = ("--target", "pixel7-cpu", "--target", "pixel7-cpu-int8")
    assert names("--config", config, "--fleet", *several) == ["pixel7-cpu", "pixel7-cpu-int8"]


def test_every_repeatable_option_of_the_command_line_wins_over_a_files(tmp_path: Path) -> None:
    config = file(tmp_path, 'target = "pixel7-cpu"\ndeadline = ["20ms", "40ms"]')
    assert parsed("--config", config).deadline == ["20ms", "40ms"]
    assert parsed("--config", config, "--deadline", "30ms").deadline == ["30ms"]
    one = file(tmp_path, 'target = "pixel7-cpu"\ndevice = "emulated"')
    assert parsed("--config", one, "--device", "127.0.0.1:5555", verb="profile").device == ["127.0.0.1:5555"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--target", "pixel7-cpu", "--target", "iphone13-cpu"), "can be exported but not timed here"),
        (("--target", "pixel7-cpu", "--target", "pixel7-tpu"), "did you mean 'pixel7-npu'"),
        (("--target", "pixel7-cpu", "--setting", "anytime"), "needs at least one --deadline"),
        (("--target", "pixel7-cpu", "--setting", "anytime", "--deadline", "2ms", "--risk", "0.1"), "no thresholds"),
        (("--target", "pixel7-cpu", "--max-latency", "30"), "has no unit"),
        (("--target", "pixel7-cpu", "--target", "pixel7-npu", "--input", "uint8"), "takes its image as the manifest"),
        (("--target", "pixel7-cpu", "--target", "galaxy-s23-cpu", "--max-int8-drop", "1pp"), "is for int8"),
        (("--target", "pixel7-cpu", "--delta", "0.1"), "give --risk too"),
    ],
)
def test_argument_errors_of_any_target_come_before_any_heavy_import(words: tuple[str, ...], text: str) -> None:
    script = (
        "import sys\nfrom pipeline.__main__ import run\n"
        f"try:\n    run({['deploy', '--fleet', *words]!r})\nexcept Exception as error:\n    print(error)\n"
        "print('HEAVY', {'torch', 'numba', 'executorch', 'sqlalchemy', 'PIL'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert text in done.stdout and "HEAVY set()" in done.stdout, done.stdout + done.stderr


def test_a_fleet_of_one_phones_targets_may_name_the_phone() -> None:
    one_phone = ("--fleet", "--target", "pixel7-cpu", "--target", "pixel7-npu", "--device", "127.0.0.1:5555")
    assert names(*one_phone) == ["pixel7-cpu", "pixel7-npu"]
    with pytest.raises(InputError, match="is one phone, but the targets are of Pixel 7 and Galaxy S23"):
        names(*one_phone, "--target", "galaxy-s23-cpu")


def test_mixed_precision_is_for_the_targets_in_int8() -> None:
    arguments = parsed("--fleet", "--target", "pixel7-cpu", "--target", "pixel7-npu", "--max-int8-drop", "1pp")
    assert _mixed(arguments, chosen_targets(arguments)) == ("pixel7-npu",)
