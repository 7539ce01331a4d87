import pytest
import torch

from device_profiler.errors import InputError
from pipeline.backbones import count_macs
from pipeline.heads import HeadArchitecture, build_head, parse_head


@pytest.mark.parametrize("name", ["fcn-r1", "fcn-r4", "lraspp-r1", "lraspp-r2"])
@pytest.mark.parametrize("channels", [24, 320])
def test_heads_give_logits_at_the_features_resolution(name: str, channels: int) -> None:
    head = build_head(parse_head(name), channels, classes=5).eval()
    assert head(torch.zeros(2, channels, 6, 4)).shape == (2, 5, 6, 4)


@pytest.mark.parametrize("kind", ["fcn", "lraspp"])
def test_reduction_makes_a_head_cheaper(kind: str) -> None:
    work = [count_macs(build_head(HeadArchitecture(kind, r), 192, 9), (1, 192, 16, 16))[0] for r in (1, 2, 4)]
    assert work[0] > work[1] > work[2]


def test_fcn_head_has_torchvisions_layers() -> None:
    torchvision_head = pytest.importorskip("torchvision.models.segmentation.fcn").FCNHead(192, 9)
    ours = build_head(parse_head("fcn-r1"), 192, 9)
    shapes = [[tuple(p.shape) for p in head.parameters()] for head in (ours, torchvision_head)]
    assert shapes[0] == shapes[1]


def test_names_round_trip() -> None:
    assert parse_head("fcn-r4") == HeadArchitecture("fcn", 4)
    assert parse_head("fcn-r4").name == "fcn-r4"


@pytest.mark.parametrize("name", ["fcn", "fcn-r0", "unet-r1", "fcn-r2x"])
def test_unknown_heads_list_the_kinds(name: str) -> None:
    with pytest.raises(InputError, match="fcn, lraspp"):
        parse_head(name)
