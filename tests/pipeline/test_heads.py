import pytest
import torch
from torch import nn

from device_profiler.errors import InputError
from pipeline.backbones import count_macs
from pipeline.head_space import HEAD_SETS, HeadArchitecture, parse_head, select_heads
from pipeline.heads import build_head


@pytest.mark.parametrize(
    "name", ["fcn-r1", "fcn-r4", "lraspp-r2", "deeplab-r8", "dsaspp-r1", "fcn-r2-b2d", "lraspp-r4-b1"]
)
@pytest.mark.parametrize("channels", [24, 320])
def test_heads_give_logits_at_the_features_resolution(name: str, channels: int) -> None:
    head = build_head(parse_head(name), channels, classes=5).eval()
    assert head(torch.zeros(2, channels, 6, 4)).shape == (2, 5, 6, 4)


def test_the_papers_space_has_56_distinct_heads_and_the_mobile_kinds_add_as_many() -> None:
    names = [head.name for head in HEAD_SETS["paper"]]
    assert len(names) == len(set(names)) == 56
    assert {head.kind for head in HEAD_SETS["mobile"]} == {"lraspp", "dsaspp"} and len(HEAD_SETS["all"]) == 112
    structures = set()
    for head in HEAD_SETS["paper"]:
        with torch.device("meta"):
            built = build_head(head, 256, 9, style="bottleneck")
        convolutions = [m for m in built.modules() if isinstance(m, nn.Conv2d)]
        structures.add(tuple((tuple(c.weight.shape), c.dilation) for c in convolutions))
    assert len(structures) == 56


@pytest.mark.parametrize("kind", ["fcn", "lraspp", "deeplab", "dsaspp"])
def test_reduction_makes_a_head_cheaper(kind: str) -> None:
    work = [count_macs(build_head(HeadArchitecture(kind, r), 192, 9), (1, 192, 16, 16))[0] for r in (1, 2, 4)]
    assert work[0] > work[1] > work[2]


def test_rapid_dilation_doubles_from_block_to_block_and_costs_nothing() -> None:
    plain, rapid = (build_head(parse_head(f"fcn-r2-b3{d}"), 64, 9) for d in ("", "d"))
    rates = [
        [m.dilation[0] for m in head.modules() if isinstance(m, nn.Conv2d) and m.groups > 1] for head in (plain, rapid)
    ]
    assert rates == [[1, 1, 1], [2, 4, 8]]
    assert count_macs(plain, (1, 64, 16, 16)) == count_macs(rapid, (1, 64, 16, 16))


@pytest.mark.parametrize(("style", "depthwise"), [("inverted", True), ("bottleneck", False)])
def test_extra_blocks_are_of_the_backbones_kind(style: str, depthwise: bool) -> None:
    head = build_head(parse_head("fcn-r1-b1"), 64, 9, style=style)
    assert any(m.groups > 1 for m in head.modules() if isinstance(m, nn.Conv2d)) == depthwise


def test_fcn_head_has_torchvisions_layers() -> None:
    torchvision_head = pytest.importorskip("torchvision.models.segmentation.fcn").FCNHead(192, 9)
    ours = build_head(parse_head("fcn-r1"), 192, 9)
    shapes = [[tuple(p.shape) for p in head.parameters()] for head in (ours, torchvision_head)]
    assert shapes[0] == shapes[1]


def test_the_pyramid_reaches_equally_far_at_every_stride() -> None:
    for stride, rates in ((8, {12, 24, 36}), (16, {6, 12, 18}), (32, {3, 6, 9})):
        head = build_head(parse_head("deeplab-r1"), 64, 9, stride=stride)
        assert {m.dilation[0] for m in head.modules() if isinstance(m, nn.Conv2d)} - {1} == rates


def test_projecting_the_mean_before_it_is_spread_equals_projecting_the_concatenation() -> None:
    pyramid = build_head(parse_head("deeplab-r1"), 16, 5).eval()[0]
    features = torch.randn(1, 16, 6, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        pooled = pyramid.pooled(features.mean((2, 3), keepdim=True)).expand(-1, -1, 6, 4)
        joined = torch.cat([*[branch(features) for branch in pyramid.branches], pooled], 1)
        weight = torch.cat([pyramid.project.weight, pyramid.project_pooled.weight], 1)
        expected = pyramid.after(nn.functional.conv2d(joined, weight))
        torch.testing.assert_close(pyramid(features), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["fcn-r4", "fcn-r4-b2", "deeplab-r8-b3d", "dsaspp-r2"])
def test_names_round_trip(name: str) -> None:
    assert parse_head(name).name == name


@pytest.mark.parametrize("name", ["fcn", "fcn-r0", "unet-r1", "fcn-r2x", "fcn-r2-b0", "fcn-r2-d", "original"])
def test_unknown_heads_list_the_kinds(name: str) -> None:
    with pytest.raises(InputError, match="fcn, deeplab, lraspp, dsaspp"):
        parse_head(name)


def test_heads_are_chosen_by_name_wildcard_and_set() -> None:
    assert select_heads(["lraspp-r2", "fcn-r[14]", "lraspp-r2"]) == ("lraspp-r2", "fcn-r1", "fcn-r4")
    assert len(select_heads(["fcn-r1", "paper"])) == 56 and select_heads(["fcn-r1", "paper"])[0] == "fcn-r1"
    for nothing in (["fcn-q*"], []):
        with pytest.raises(InputError, match="sets of heads are paper, mobile, all"):
            select_heads(nothing)
