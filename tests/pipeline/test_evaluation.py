import msgspec
import numpy as np
import pytest
import torch

from device_profiler.errors import InputError
from pipeline.data.source import Split
from pipeline.evaluation import evaluate, evaluate_policies, majority_guess, overlap, summarise
from pipeline.model import MultiExitModel, build_model, count_model, design_model
from pipeline.policy import Confidence, Finish, enlarge
from pipeline.policy_name import AGREEMENT
from pipeline.progress import SilentProgress

CLASSES, IGNORE = ("a", "b", "c", "d"), 255


@pytest.fixture(scope="module")
def model() -> MultiExitModel:
    return build_model(design_model(CLASSES, (64, 64), exits=2, heads=("lraspp-r1", "fcn-r4")), seed=1)


@pytest.fixture(scope="module")
def split() -> Split:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    masks = rng.integers(0, 3, (5, 64, 64), dtype=np.uint8)
    masks[:, :10] = IGNORE
    return Split("test", tuple("vwxyz"), images, masks)


def test_miou_is_torchmetrics_macro_jaccard(model: MultiExitModel, split: Split) -> None:
    torchmetrics = pytest.importorskip("torchmetrics.classification")
    statistics = evaluate(model, split, SilentProgress(), ignore=IGNORE, batch=2)
    finish = Finish((64, 64))
    with torch.no_grad():
        answers = model(torch.from_numpy(np.asarray(split.images)).permute(0, 3, 1, 2).float())
    for e in range(2):
        for h in range(2):
            metric = torchmetrics.MulticlassJaccardIndex(len(CLASSES), average="macro", ignore_index=IGNORE)
            metric.update(finish(answers[e][h]), torch.from_numpy(split.masks).long())
            assert statistics.miou(e, h) == pytest.approx(float(metric.compute()), abs=1e-6)


def test_confidence_and_names_are_those_of_the_policy_and_the_model(model: MultiExitModel, split: Split) -> None:
    statistics = evaluate(model, split, SilentProgress(), ignore=IGNORE, policy="share:0.4", batch=3)
    with torch.no_grad():
        features = model.forward_features(torch.from_numpy(split.images).permute(0, 3, 1, 2).float())
        expected = Confidence("share:0.4")(model.head(1, "fcn-r4")(features[1]))
    np.testing.assert_allclose(statistics.confidence[1, 1], expected, atol=1e-3)
    assert statistics.exits == ("exit1", "exit2") and statistics.heads == (("lraspp-r1", "fcn-r4"),) * 2
    assert statistics.images == split.ids and statistics.classes == CLASSES and statistics.reference == (1, 0)
    assert statistics.policy == "share:0.4" and statistics.precision == "fp32"


def test_policies_share_a_pass_and_agreement_asks_the_witness(model: MultiExitModel, split: Split) -> None:
    policies = ("margin", AGREEMENT, "mean")
    found = evaluate_policies(model, split, SilentProgress(), ignore=IGNORE, policies=policies, batch=2)
    assert tuple(one.policy for one in found) == policies
    for one in (found[0], found[2]):
        alone = evaluate(model, split, SilentProgress(), ignore=IGNORE, policy=one.policy, batch=2)
        np.testing.assert_array_equal(one.confidence, alone.confidence)
        np.testing.assert_array_equal(one.union, alone.union)
    with torch.no_grad():
        answers = model(torch.from_numpy(np.asarray(split.images)).permute(0, 3, 1, 2).float())
    witness = answers[0][1]  # fcn-r4, the cheaper of the two
    grid = (witness.shape[2], witness.shape[3])
    for h, logits in enumerate(answers[1]):
        expected = (enlarge(logits, grid).argmax(1) == witness.argmax(1)).float().mean(dim=(1, 2))
        np.testing.assert_allclose(found[1].confidence[1, h], expected, atol=2e-3)
    assert (found[1].confidence[0] == 0).all()


def test_exits_may_have_different_numbers_of_heads(split: Split) -> None:
    spec = design_model(CLASSES, (64, 64), exits=2, heads=("lraspp-r1", "fcn-r4"))
    uneven = build_model(msgspec.structs.replace(spec, heads=(("fcn-r4",), ("lraspp-r1", "fcn-r4"))))
    statistics = evaluate(uneven, split, SilentProgress(), ignore=IGNORE)
    assert statistics.heads == (("fcn-r4", ""), ("lraspp-r1", "fcn-r4"))
    assert len(summarise(uneven, statistics, split, 0.1).exits) == 3


def test_overlap_never_counts_ignored_pixels() -> None:
    labels = np.array([[0, 1, 1, 2]])
    mask = np.array([[0, 1, 2, IGNORE]], np.uint8)
    intersection, union = overlap(labels, mask, 3, IGNORE)
    assert intersection.tolist() == [1, 1, 0] and union.tolist() == [1, 2, 1]


def test_the_majority_guess_answers_the_commonest_class_of_the_training_images(split: Split) -> None:
    masks = np.ones_like(split.masks)
    masks[:, :8] = 2
    train = Split("train", split.ids, split.images, masks)
    true = np.asarray(split.masks)
    share = (true == 1).sum() / (true != IGNORE).sum()
    assert majority_guess(train, split, len(CLASSES), IGNORE) == pytest.approx(share / 3)


def test_the_report_states_accuracy_and_cost_of_every_single_exit_network(model: MultiExitModel, split: Split) -> None:
    statistics = evaluate(model, split, SilentProgress(), ignore=IGNORE)
    report = summarise(model, statistics, split, 0.2)
    cost = count_model(model)
    assert [(row.exit, row.head) for row in report.exits] == [
        (e, h) for e in ("exit1", "exit2") for h in ("lraspp-r1", "fcn-r4")
    ]
    last = report.exits[2]
    assert last.reference and last.macs == sum(cost.blocks) + cost.heads[1][0] == last.backbone_macs + last.head_macs
    assert last.miou == statistics.miou(1, 0) and set(last.class_iou) == set(CLASSES)
    assert msgspec.json.decode(msgspec.json.encode(report))["exits"][0]["miou"] == report.exits[0].miou


def test_images_of_another_size_and_empty_splits_are_refused(model: MultiExitModel, split: Split) -> None:
    small = Split("test", split.ids, split.images[:, :32], split.masks[:, :32])
    with pytest.raises(InputError, match=r"\(32, 64\) given, the network takes \(64, 64\)"):
        evaluate(model, small, SilentProgress(), ignore=IGNORE)
    with pytest.raises(InputError, match="no images"):
        evaluate(model, Split("test", (), split.images[:0], split.masks[:0]), SilentProgress(), ignore=IGNORE)
