"""Pictures of the report: label and confidence maps that keep their values, colours that can be told apart."""

import numpy as np
import pytest

from pipeline.run_report import RunReport, encode_labels
from pipeline.run_report.gallery import gallery
from pipeline.run_report.palette import DARK, LIGHT, Theme, class_colours
from pipeline.run_report.pictures import confidence_colours, decode_labels, encode_confidence, regions


def test_confidence_maps_keep_their_values() -> None:
    levels = np.linspace(0, 1, 256).reshape(16, 16)
    assert np.abs(decode_labels(encode_confidence(levels)) / 255 - levels).max() < 1 / 500
    lightness = [0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in confidence_colours()]
    assert lightness == sorted(lightness)


def test_gallery_shows_early_leavers_first_and_what_earlier_exits_said(report: RunReport) -> None:
    groups = gallery(report)
    first, last = report.chosen.candidate.choice.exits[0], report.chosen.candidate.choice.exits[-1]
    assert [group.title for group in groups] == [
        f"Easy: leave at {report.exits[first]}",
        f"Hard: go on to {report.exits[last]}",
    ]
    assert [len(card.visits) for card in groups[0].cards] == [1, 1, 1]
    assert [len(card.visits) for card in groups[1].cards] == [2, 2, 2]
    assert all(len(visit.tiles) == 3 for group in groups for card in group.cards for visit in card.visits)
    assert all(len(card.visits) + len(card.others) == len(report.exits) for group in groups for card in group.cards)


def test_label_maps_are_kept_exactly() -> None:
    labels = np.random.default_rng(0).integers(0, 256, (33, 47))
    assert np.array_equal(decode_labels(encode_labels(labels)), labels)


def test_a_class_number_lies_inside_its_class() -> None:
    labels = np.zeros((100, 100), np.uint8)
    labels[60:90, 10:40] = 3
    spots = {region.label: region for region in regions(labels, 5)}
    assert set(spots) == {0, 3}
    for label, spot in spots.items():
        assert spot.left is not None and spot.top is not None
        assert labels[int(spot.top), int(spot.left)] == label
    assert spots[3].share == pytest.approx(0.09)


def test_class_colours_differ_from_each_other() -> None:
    names = ("background", *(f"class{n}" for n in range(40)))
    colours = class_colours(names)
    assert len(set(colours)) == len(names)


def contrast(one: str, other: str) -> float:
    """Contrast ratio by WCAG 2 of two hex colours."""

    def luminance(colour: str) -> float:
        channels = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_text_stands_out_in_both_colour_schemes(theme: Theme) -> None:
    for paper in (theme.paper, theme.card):
        for name in ("ink", "soft", "accent", "gold", "green", "pink", "red"):
            assert contrast(getattr(theme, name), paper) >= 4.5, name
        assert contrast(theme.grey, paper) >= 3
