"""The command line's frame: verbs, one-line errors, configuration files, and no heavy import before it is needed."""

import argparse
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import torch

from device_profiler.errors import InputError
from pipeline.__main__ import VERBS, run, verb_module
from pipeline.cli import targets
from pipeline.cli.parser import parse, verb_parser

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "timm", "numba", "executorch", "litert_torch", "altair", "sqlalchemy", "PIL"}


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *words], cwd=ROOT, capture_output=True, text=True, timeout=120
    )


def loaded_by(words: list[str], heavy: set[str]) -> str:
    """What a command prints, its error, and which of `heavy` it imported."""
    script = (
        "import sys\nfrom pipeline.__main__ import run\n"
        f"try:\n    run({words!r})\nexcept BaseException as error:\n    print(type(error).__name__, error)\n"
        "print('HEAVY', sorted(set(name.split('.')[0] for name in sys.modules) & set(sys.argv[1:])))"
    )
    done = subprocess.run([sys.executable, "-c", script, *heavy], cwd=ROOT, capture_output=True, text=True, timeout=120)
    return done.stdout + done.stderr


@pytest.mark.parametrize("words", [["--help"], *[[verb, "--help"] for verb in VERBS], ["deploy", "--no-such-flag"]])
def test_help_and_argument_errors_come_before_any_heavy_import(words: list[str]) -> None:
    assert "HEAVY []" in (told := loaded_by(words, HEAVY)), told


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--policy", "most"), "unknown exit policy 'most'"),
        (("--heads", "fcn-r1,unet-r1"), "unknown head 'unet-r1'"),
        (("--data", "nowhere"), "unknown data source 'nowhere'"),
        (("--data", "voc:nowhere"), "no folder nowhere for --data voc:nowhere"),
        (("--weights", "none.pth"), "no weights at none.pth"),
        (("--checkpoint", "nowhere"), "no checkpoint at nowhere"),
        (("--checkpoint", "a", "--weights", "b"), "leave one of them out"),
        (("--preset", "medium"), "unknown preset 'medium'"),
    ],
)
@pytest.mark.parametrize("verb", ["train", "deploy"])
def test_a_network_that_can_not_be_had_is_told_before_torch_is_there_or_a_phone_opened(
    verb: str, words: tuple[str, ...], text: str
) -> None:
    told = loaded_by([verb, *(("--target", "pixel7-cpu") if verb == "deploy" else ()), *words], HEAVY - {"PIL"})
    assert text in told.partition("InputError ")[2], told
    assert "HEAVY []" in told, told


def test_help_lists_every_verb() -> None:
    done = command("--help")
    assert done.returncode == 0
    assert all(f"  {verb} " in done.stdout for verb in VERBS)


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["deplyo"], 2, "error: unknown verb 'deplyo'; did you mean 'deploy'? Known: "),
        (["deploy", "--target", "pixel7-tpu"], 2, "error: unknown target 'pixel7-tpu'; did you mean 'pixel7-npu'?"),
        (["deploy"], 2, "--target"),
        (["targets", "--size"], 2, "error: unrecognized arguments: --size; see `python -m pipeline targets --help`"),
    ],
)
def test_bad_words_are_one_line_and_an_exit_code(words: list[str], code: int, text: str) -> None:
    done = command(*words)
    assert done.returncode == code
    assert text in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


def example_module() -> ModuleType:
    module = ModuleType("example")

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--target", required=True)
        parser.add_argument("--count", type=int, default=1)
        parser.add_argument("--mode", choices=["a", "b"])
        parser.add_argument("--flag", action="store_true")

    module.HELP = "an example"  # type: ignore[attr-defined]
    module.add_arguments = add_arguments  # type: ignore[attr-defined]
    return module


def parsed(*words: str) -> argparse.Namespace:
    return parse(verb_parser("example", example_module()), words)


def test_a_file_stands_in_for_flags_and_flags_win(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('target = "x"\ncount = 3\nflag = true\n')
    namespace = parsed("--config", str(file), "--count", "5")
    assert (namespace.target, namespace.count, namespace.flag) == ("x", 5, True)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("tarhet = 'x'", "unknown key 'tarhet'; did you mean 'target'?"),
        ("target = 'x'\ncount = 'many'", "count = 'many'"),
        ("target = 'x'\nmode = 'c'", "choose from a, b"),
        ("target = 'x'\nflag = 3", "flag is true or false"),
        ("target", "is no valid TOML"),
    ],
)
def test_bad_files_are_named_with_the_key(tmp_path: Path, content: str, text: str) -> None:
    file = tmp_path / "c.toml"
    file.write_text(content)
    with pytest.raises(InputError) as caught:
        parsed("--config", str(file))
    assert text in str(caught.value)
    assert str(file) in str(caught.value)


def test_an_absent_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't read the configuration"):
        parsed("--config", str(tmp_path / "none.toml"))


def test_saved_options_repeat_the_command(tmp_path: Path) -> None:
    file = tmp_path / "saved.toml"
    first = parsed("--target", "x", "--count", "4", "--flag", "--save-config", str(file))
    assert tomllib.loads(file.read_text()) == {"target": "x", "count": 4, "flag": True}
    second = parsed("--config", str(file))
    assert (second.target, second.count, second.flag, second.mode) == (first.target, 4, True, None)


def test_every_verb_has_help_arguments_and_a_handler() -> None:
    for verb in VERBS:
        module = verb_module(verb)
        assert module.HELP and callable(module.add_arguments) and callable(module.handle)


def test_no_words_print_the_usage_and_fail(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    assert "usage: python -m pipeline VERB" in capsys.readouterr().out


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_what_a_library_prints_is_no_part_of_the_result(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch.hub, by which torchvision's weights come, tells its downloads on stdout."""
    weights, listing = tmp_path / "published.pth", targets.handle
    torch.save({}, weights)

    def downloads_first(arguments: argparse.Namespace) -> int:
        torch.hub.load_state_dict_from_url(weights.as_uri(), model_dir=str(tmp_path / "hub"), progress=False)
        return listing(arguments)

    assert run(["targets", *flags]) == 0
    alone = capsys.readouterr().out
    monkeypatch.setattr(targets, "handle", downloads_first)
    assert run(["targets", *flags]) == 0
    printed = capsys.readouterr()
    assert printed.out == alone and "pixel7-npu" in alone
    assert "Downloading" in printed.err
    if flags:
        assert json.loads(printed.out)["targets"]
