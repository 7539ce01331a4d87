from pathlib import Path

import msgspec
import pytest

from device_profiler.errors import InputError
from pipeline.checkpoint import load_model
from pipeline.data import load_source
from pipeline.evaluation import evaluate, majority_guess
from pipeline.model import design_model
from pipeline.presets import PRESETS, find_preset
from pipeline.progress import SilentProgress
from pipeline.training.run import train


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_describe_networks_that_exist(name: str) -> None:
    preset = find_preset(name)
    spec = design_model(
        ("a", "b"),
        (64, 64),
        backbone=preset.backbone,
        output_stride=preset.output_stride,
        exits=preset.exits,
        heads=preset.heads,
    )
    assert len(spec.exits) == preset.exits
    assert msgspec.json.decode(msgspec.json.encode(preset), type=type(preset)) == preset


def test_unknown_presets_list_the_known() -> None:
    with pytest.raises(InputError, match="smoke, quick, full"):
        find_preset("turbo")


def test_quick_has_six_exits_and_at_most_four_heads() -> None:
    quick = find_preset("quick")
    assert (
        quick.exits == 6 and len(quick.heads) <= 4 and {head.split("-")[0] for head in quick.heads} == {"fcn", "lraspp"}
    )


def test_a_preset_of_ones_own_changes_what_it_names(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'base = "smoke"\nheads = ["fcn-*"]\npolicy = "share:0.9"\n[training]\nseed = 3\n[training.method]\n'
        'variant = "kd"\n[training.distillation]\nsteps = 7\n'
    )
    mine, smoke = find_preset(str(path)), find_preset("smoke")
    assert mine.heads == ("fcn-*",) and mine.policy == "share:0.9" and mine.area == smoke.area and mine.name == "mine"
    assert mine.training.exit_dropout == smoke.training.exit_dropout
    assert mine.training.distillation.steps == 7 and mine.training.distillation.batch == 8
    assert mine.training.method.variant == "kd" and mine.training.method.independent


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("exits = 'three'", r"mine\.toml: Expected `int`"),
        ("exit = 3", "unknown field `exit`.*a preset has name, data"),
        ("[training.method]\nvariant = 'all'", "Invalid enum value 'all'"),
        ("[training.exit_dropout]\nbatch = 0", r"Expected `int` >= 1 - at `\$\.training\.exit_dropout\.batch`"),
        ("[training]\nscale = [0, 1]", r"Expected `float` > 0.0 - at `\$\.training\.scale"),
        ("base = 'turbo'", "base = 'turbo'; choose one of smoke"),
        ("exits =", "is no valid TOML"),
    ],
)
def test_a_preset_file_that_is_wrong_is_refused_by_field(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "mine.toml").write_text(content)
    with pytest.raises(InputError, match=message):
        find_preset(str(tmp_path / "mine.toml"))


def test_a_preset_file_that_is_missing_is_named() -> None:
    with pytest.raises(InputError, match=r"can't read the preset absent\.toml"):
        find_preset("absent.toml")


@pytest.mark.slow
@pytest.mark.usefixtures("own_cache")
def test_the_smoke_preset_learns_at_every_exit(tmp_path: Path) -> None:
    preset = find_preset("smoke")
    source = load_source(preset.data, area=preset.area, amounts=preset.amounts)
    spec = design_model(
        source.classes.names, source.size, output_stride=preset.output_stride, exits=preset.exits, heads=preset.heads
    )
    model = load_model(train(spec, source, preset.training, tmp_path, SilentProgress()))
    statistics = evaluate(model, source.test, SilentProgress(), ignore=source.classes.ignore)
    guess = majority_guess(source.train, source.test, len(source.classes), source.classes.ignore)
    assert min(statistics.miou(e, h) for e in range(3) for h in range(2)) > 1.5 * guess
    assert statistics.miou(*statistics.reference) > 0.35
