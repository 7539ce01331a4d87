"""Programs cut from a network compute what the network computes, however it is cut."""

import pytest
import torch

from pipeline.model import MultiExitModel, build_model, design_model
from pipeline.partition import Partition, deployment_programs
from pipeline.policy import Confidence, Finish, agreement
from pipeline.policy_name import AGREEMENT

SIZE = (64, 64)


@pytest.fixture(scope="module")
def model() -> MultiExitModel:
    spec = design_model(("a", "b", "c"), SIZE, exits=3, heads=("lraspp-r2", "fcn-r1"))
    return build_model(spec, seed=3)


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(1)) * 255


@torch.no_grad()
def test_blocks_and_heads_chained_equal_the_network(model: MultiExitModel, image: torch.Tensor) -> None:
    partition = Partition(model, "mean")
    logits = model(image)
    features = image
    for e in range(3):
        (features,) = partition.block(e).module(features)
        for h, name in enumerate(model.spec.heads[e]):
            out, confidence = partition.head(e, name).module(features)
            assert torch.equal(out, logits[e][h])
            assert torch.equal(confidence, Confidence("mean")(out))
            (labels,) = partition.finish(e).module(out)
            assert torch.equal(labels, Finish(SIZE)(out))
            assert torch.equal(partition.prefix(e, name).module(image)[0], labels)


@torch.no_grad()
@pytest.mark.parametrize("exits", [(0, 2), (1, 2), (0, 1, 2)])
def test_agreement_asks_the_exit_before_however_the_network_is_cut(
    model: MultiExitModel, image: torch.Tensor, exits: tuple[int, ...]
) -> None:
    partition, logits, features = Partition(model, AGREEMENT), model(image), model.forward_features(image)
    cheapest = model.spec.heads[0].index("lraspp-r2")
    expected = [agreement(logits[e][1], logits[e - 1][cheapest] if e else None) for e in range(3)]
    assert 0 < float(expected[1]) < 1 and not expected[0]
    programs, plan = deployment_programs(partition, exits, ("fcn-r1",) * len(exits), (0.5,) * (len(exits) - 1))
    by_name, value = {program.name: program for program in programs}, image
    for n, e in enumerate(exits[:-1]):
        value, _, confidence = by_name[plan.stages[n]].module(value)
        assert torch.equal(confidence, expected[e])
    for e in range(3):
        head = partition.head(e, "fcn-r1")
        assert [spec.name for spec in head.inputs] == ["features_in", "features_before"][: 2 if e else 1]
        assert torch.equal(head.module(features[e], *features[e - 1 : e])[1], expected[e])


@torch.no_grad()
@pytest.mark.parametrize("exits", [(0, 2), (1, 2), (0, 1), (0, 1, 2)])
def test_a_cascade_hands_features_on_and_skips_exits(
    model: MultiExitModel, image: torch.Tensor, exits: tuple[int, ...]
) -> None:
    heads = ("fcn-r1",) * len(exits)
    programs, plan = deployment_programs(Partition(model, "mean"), exits, heads, (0.5,) * (len(exits) - 1))
    by_name = {program.name: program for program in programs}
    logits = model(image)
    features = image
    for n, (e, stage) in enumerate(zip(exits, plan.stages, strict=True)):
        outputs = by_name[stage].module(features)
        if n == len(exits) - 1:
            assert torch.equal(outputs[0], Finish(SIZE)(logits[e][1]))
            break
        features = outputs[0]
        assert torch.equal(outputs[1], logits[e][1])
        assert by_name[plan.finish[n]].module(logits[e][1])[0].shape == (1, *SIZE)
    assert plan.thresholds == (0.5,) * (len(exits) - 1)


@torch.no_grad()
def test_declared_shapes_and_types_are_the_real_ones(model: MultiExitModel) -> None:
    partition = Partition(model, "mean")
    programs, _ = deployment_programs(partition, (0, 2), ("fcn-r1", "lraspp-r2"), (0.5,))
    single, plan = deployment_programs(partition, (1,), ("fcn-r1",), ())
    assert plan.stages == ("segment",) and plan.finish == ()
    parts = [partition.block(1), partition.head(1, "fcn-r1"), partition.finish(2)]
    for program in (*programs, *single, *parts):
        outputs = program.module(*program.example_inputs())
        assert len(outputs) == len(program.outputs)
        for output, spec in zip(outputs, program.outputs, strict=True):
            assert tuple(output.shape) == spec.shape, (program.name, spec.name)
            assert output.dtype == getattr(torch, spec.dtype)
