import msgspec
import pytest
import torch

from device_profiler.errors import InputError
from pipeline.model import ModelSpec, build_model, count_model, design_model
from pipeline.policy_name import AGREEMENT


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return design_model(("a", "b", "c"), (64, 96), exits=3, heads=("lraspp-r1", "fcn-r4"))


def test_building_is_deterministic_and_leaves_the_random_state_alone(spec: ModelSpec) -> None:
    before = torch.random.get_rng_state()
    first, second = build_model(spec).state_dict(), build_model(spec).state_dict()
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = build_model(spec, seed=1).state_dict()
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_one_pass_gives_the_logits_of_every_head(spec: ModelSpec) -> None:
    model = build_model(spec)
    image = torch.rand(2, 3, *spec.size) * 255
    with torch.no_grad():
        logits, features = model(image), model.forward_features(image)
        alone = model.head(1, "fcn-r4")(features[1])
    assert [len(of_exit) for of_exit in logits] == [2, 2, 2]
    assert tuple(features[2].shape[1:]) == model.feature_shapes[2][1:]
    torch.testing.assert_close(logits[1][1], alone)


def test_blocks_chain_to_the_features_and_the_last_has_the_output_stride(spec: ModelSpec) -> None:
    model = build_model(spec)
    image = torch.rand(1, 3, *spec.size) * 255
    with torch.no_grad():
        whole = model.forward_features(image)
        by_parts = model.blocks[2](model.blocks[1](model.blocks[0](image)))
    assert torch.equal(whole[-1], by_parts)
    assert whole[-1].shape[-2:] == (4, 6)


def test_costs_add_up_to_the_single_exit_network(spec: ModelSpec) -> None:
    model = build_model(spec)
    cost = count_model(model)
    assert cost.total(2, 0) == sum(cost.blocks) + cost.heads[2][0]
    shares = [sum(cost.blocks[: k + 1]) / sum(cost.blocks) for k in range(3)]
    assert shares == pytest.approx([1 / 3, 2 / 3, 1], abs=0.1)
    # The classifier of LR-ASPP: 128 channels to 3 classes on 4x6 positions is part of it.
    assert cost.heads[2][0] > 128 * 3 * 24


def test_a_witness_costs_what_the_cheapest_head_of_the_exit_before_costs(spec: ModelSpec) -> None:
    model = build_model(spec)
    plain, asked = count_model(model), count_model(model, AGREEMENT)
    assert (asked.blocks, asked.heads, plain.judged()) == (plain.blocks, plain.heads, plain.heads)
    assert plain.witnesses == (0, 0, 0) and asked.witnesses == (0, min(plain.heads[0]), min(plain.heads[1]))
    assert asked.total(2, 0) == plain.total(2, 0), "a single exit asks nobody"
    first, second, last = asked.judged(2)
    assert (first, last) == (plain.heads[0], plain.heads[2])
    assert second == tuple(macs + asked.witnesses[1] for macs in plain.heads[1])


def test_the_full_network_is_never_needlessly_heavy(spec: ModelSpec) -> None:
    cost = count_model(build_model(design_model(("a", "b"), (256, 256))))
    assert cost.heads[-1][0] < 0.05 * sum(cost.blocks)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"exits": (3, 2, 16)}, "increasing order"),
        ({"heads": (("fcn-r1",),)}, "3 exits need as many lists"),
        ({"reference": (3, 0)}, "reference"),
        ({"backbone": "x"}, "unknown backbone"),
        ({"size": (60, 96)}, "60x96"),
    ],
)
def test_a_spec_that_contradicts_itself_is_refused(spec: ModelSpec, change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_model(msgspec.structs.replace(spec, **change))


def test_one_class_is_no_segmentation() -> None:
    with pytest.raises(InputError, match="at least 2"):
        design_model(("only",), (64, 64))
