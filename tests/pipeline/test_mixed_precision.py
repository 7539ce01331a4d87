"""Mixed precision of a whole network: the harmed layer is named, it alone is kept, and parts and stages agree on it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from device_profiler.errors import InfeasibleError
from device_profiler.targets import find_target
from mobile_export.manifest import KeptLayer, MixedPrecision
from pipeline.data.source import Split
from pipeline.mixed_precision import Judge, SimulatedNetwork, choose, mixed_precision_lines
from pipeline.model import MultiExitModel, build_model, design_model
from pipeline.partition import Partition, deployment_programs
from pipeline.policy import Finish
from pipeline.progress import Advance, SilentProgress

SIZE = (64, 64)
HARMED = "blocks.1.2.conv_pwl"


def network() -> MultiExitModel:
    """Random weights, BatchNorm statistics that fit random images, and one layer that int8 ruins."""
    model = build_model(design_model(tuple("abcdefgh"), SIZE, exits=2, heads=("fcn-r4",)), seed=3)
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        model.train()(torch.from_numpy(pictures(8, seed=1)))
        harm(model)
    return model.eval()


def harm(model: MultiExitModel) -> None:
    """A channel that is always 0 gets weights so large that int8 rounds those of the other channels to nothing."""
    unit = model.get_submodule(HARMED.rpartition(".")[0])
    unit.bn2.weight[0], unit.bn2.bias[0] = 0.0, 0.0
    unit.conv_pwl.weight[:, 0] = 1000.0


def pictures(count: int, seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).uniform(0, 255, (count, 3, 8, 8)).astype(np.float32)
    enlarged = torch.nn.functional.interpolate(torch.from_numpy(coarse), size=SIZE, mode="bilinear")
    return enlarged.round().numpy()


@pytest.fixture(scope="module")
def model() -> MultiExitModel:
    return network()


@pytest.fixture(scope="module")
def simulated(model: MultiExitModel) -> SimulatedNetwork:
    return SimulatedNetwork.of(model, pictures(6, seed=2))


@pytest.fixture(scope="module")
def split(model: MultiExitModel) -> Split:
    """Images whose truth is what the network itself says in floating point, at its last exit."""
    images = pictures(4, seed=5)
    with torch.no_grad():
        masks = Finish(SIZE)(model(torch.from_numpy(images))[-1][0]).numpy()
    stored = images.transpose(0, 2, 3, 1).astype(np.uint8)
    return Split("search", tuple("abcd"), stored, masks.astype(np.uint8))


def test_the_harmed_layer_is_found_and_kept_alone(simulated: SimulatedNetwork, split: Split) -> None:
    ranked = simulated.sensitivities()
    assert ranked[0].name == HARMED
    assert ranked[0].changed > 1.5 * ranked[1].changed

    judge = Judge.of(simulated, split, ignore=255)
    alone = judge.drop((HARMED,))
    found = choose(ranked, judge, allowed_drop=(alone + judge.drop(())) / 2)

    assert found.names == (HARMED,)
    assert found.layers == len(ranked) > 50
    assert found.drop == pytest.approx(alone)
    assert found.drop_in_int8 > alone + 0.1
    assert mixed_precision_lines(found)[1].startswith(f"  {HARMED}: alone in int8 it changes")


def test_of_many_kept_layers_a_short_text_tells_the_most_sensitive() -> None:
    kept = tuple(KeptLayer(f"layer{n}", 0.5 - 0.1 * n) for n in range(5))
    mixed = MixedPrecision(kept=kept, layers=9, allowed_drop=0.01, drop_in_int8=0.2, drop=0.005, images=24, method="")
    assert len(mixed_precision_lines(mixed)) == 1 + 5
    assert mixed_precision_lines(mixed, 2)[1:] == [
        "  layer0: alone in int8 it changes 50.0% of the labels",
        "  layer1: alone in int8 it changes 40.0% of the labels",
        "  and 3 more, named in manifest.json and the report",
    ]


def test_parts_and_stages_keep_the_same_layer(model: MultiExitModel) -> None:
    partition = Partition(model, "mean", (HARMED,))
    parts = {program.name: program.float_layers for program in partition.parts() if program.float_layers}
    stages, _ = deployment_programs(partition, (0, 1), ("fcn-r4", "fcn-r4"), (0.5,))
    kept = {program.name: program.float_layers for program in stages if program.float_layers}

    assert parts == {"block_1": ("block.2.conv_pwl",)}
    assert kept == {"stage_1": ("blocks.0.2.conv_pwl",)}
    assert partition.layer_names(stages[1])["blocks.0.2.conv_pwl"] == HARMED


@dataclass
class Scripted:
    """A judge whose drop is the sum of what the layers that are not kept cost."""

    costs: dict[str, float]
    images: tuple[int, ...] = (0, 0)
    asked: list[tuple[str, ...]] = field(default_factory=list)

    def drop(self, kept: Sequence[str]) -> float:
        self.asked.append(tuple(kept))
        return sum(cost for name, cost in self.costs.items() if name not in kept)


@dataclass
class Watched(SilentProgress):
    """Counts the steps of a task."""

    total: int = 0
    done: int = 0

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[Advance]:
        self.total = total

        def advance(steps: int, note: str) -> None:
            self.done += steps

        yield advance


def ranked(names: str) -> list[KeptLayer]:
    return [KeptLayer(name, 1 / (n + 1)) for n, name in enumerate(names)]


@pytest.mark.parametrize(
    ("allowed", "kept"), [(1.0, ""), (0.61, "a"), (0.30, "ac"), (0.16, "acd"), (0.05, "abcd")]
)
def test_no_more_is_kept_than_the_allowed_drop_asks_for(allowed: float, kept: str) -> None:
    judge = Scripted({"a": 0.4, "b": 0.1, "c": 0.3, "d": 0.15, "e": 0.05})
    found = choose(ranked("abcde"), judge, allowed)  # type: ignore[arg-type]

    assert "".join(found.names) == kept
    assert found.drop <= allowed
    assert found.drop_in_int8 == pytest.approx(1.0)


@pytest.mark.parametrize("allowed", [1.0, 0.5, 0.2, 0.1, 0.03])
@pytest.mark.parametrize("layers", [1, 2, 5, 33])
def test_the_announced_number_of_trials_is_never_exceeded(layers: int, allowed: float) -> None:
    names = [f"layer{n}" for n in range(layers)]
    judge = Scripted(dict.fromkeys(names, 1 / layers))
    watched = Watched()
    choose([KeptLayer(name, 0.5) for name in names], judge, allowed, watched)  # type: ignore[arg-type]
    assert 0 < watched.done == len(judge.asked) <= watched.total


def test_what_no_layer_can_cure_is_infeasible_and_says_what_is() -> None:
    judge = Scripted({"a": 0.1, "something else": 0.0213})
    with pytest.raises(
        InfeasibleError, match=r"2\.13pp .* even with all 1 layers .* 1pp are allowed: raise --max-int8-drop to 2\.13pp"
    ):
        choose(ranked("a"), judge, 0.01)  # type: ignore[arg-type]


def test_only_int8_targets_take_the_option() -> None:
    import argparse

    from device_profiler.errors import InputError
    from pipeline.mixed_precision_options import add_mixed_precision_arguments, max_int8_drop_from

    parser = argparse.ArgumentParser()
    add_mixed_precision_arguments(parser)
    asked = parser.parse_args(["--max-int8-drop", "0.5pp"])
    assert max_int8_drop_from(asked, find_target("pixel7-npu")) == pytest.approx(0.005)
    assert max_int8_drop_from(parser.parse_args([]), find_target("pixel7-cpu")) is None
    for target in ("pixel7-cpu", "galaxy-s23-npu"):
        with pytest.raises(InputError, match=f"but {target} is .* by .*: leave it out"):
            max_int8_drop_from(asked, find_target(target))
