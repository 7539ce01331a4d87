import pytest
import torch

from device_profiler.errors import InputError
from pipeline.backbones import (
    build_classifier,
    build_units,
    check_size,
    find_family,
    load_imagenet_weights,
    place_exits,
    unit_macs,
    weight_path,
)


def test_imagenet_weights_give_the_reference_implementations_logits() -> None:
    reference = pytest.importorskip("efficientnet_lite_pytorch")
    family = find_family("efficientnet_lite0")
    theirs = reference.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(weight_path(family))).eval()
    ours = build_classifier(family)
    load_imagenet_weights(ours, family)
    image = (torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(1)) * 255 - 127) / 128
    with torch.no_grad():
        expected = theirs(image)
        assert expected.abs().max() > 1
        torch.testing.assert_close(ours.eval()(image), expected, atol=1e-4, rtol=0)


def test_units_normalise_pixels_and_pad_as_the_whole_network_does() -> None:
    family = find_family("efficientnet_lite0")
    whole = build_classifier(family).eval()
    load_imagenet_weights(whole, family)
    image = torch.rand(1, 3, 96, 64, generator=torch.Generator().manual_seed(1)) * 255
    features = image
    with torch.no_grad():
        for unit in build_units(family, 32, pretrained=True):
            features = unit.eval()(features)
        expected = whole.blocks(whole.bn1(whole.conv_stem((image - 127) / 128)))
    torch.testing.assert_close(features, expected)


def test_batch_norm_momentum_suits_short_runs() -> None:
    units = build_units(find_family("efficientnet_lite0"), 16, pretrained=False)
    norms = [m for unit in units for m in unit.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(norms) == 48 and {norm.momentum for norm in norms} == {0.1}


def test_work_is_counted_as_published_for_the_backbone() -> None:
    # EfficientNet-Lite0 is published at 407 M multiply-adds at 224x224; the layers after the last unit are left out.
    last_layers = 320 * 1280 * 7 * 7 + 1280 * 1000
    assert sum(unit_macs("efficientnet_lite0", 32, (224, 224))) + last_layers == pytest.approx(407e6, rel=0.06)


def test_dilation_moves_work_to_the_deep_units() -> None:
    light, dilated = (unit_macs("efficientnet_lite0", stride, (64, 64)) for stride in (32, 16))
    assert light[:12] == dilated[:12]
    assert dilated[-1] == 4 * light[-1]


@pytest.mark.parametrize(
    ("macs", "count", "expected"),
    [((1,) * 6, 3, (1, 3, 5)), ((10, 1, 1), 3, (0, 1, 2)), ((1, 1, 10), 3, (0, 1, 2)), ((4, 2, 2), 2, (0, 2))],
)
def test_exits_lie_nearest_to_equal_shares(macs: tuple[int, ...], count: int, expected: tuple[int, ...]) -> None:
    assert place_exits(macs, count) == expected


def test_more_exits_than_units_are_refused() -> None:
    with pytest.raises(InputError, match="18 exits asked for; this backbone offers 1 to 17"):
        place_exits((1,) * 17, 18)


def test_a_size_that_the_strides_do_not_divide_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"250x256.*256x256"):
        check_size((250, 256))


def test_unknown_backbone_lists_the_known() -> None:
    with pytest.raises(InputError, match="efficientnet_lite0"):
        find_family("resnet5000")
