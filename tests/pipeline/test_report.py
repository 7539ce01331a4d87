"""What a reader of the report relies on: figures that follow from each other, honest wording, strict reading."""

import base64
import io
import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image
from report_factory import CLASSES, make_report, pictures

from device_profiler.errors import InputError
from device_profiler.measurement import Measurement, Verdict, VerdictKind
from pipeline.run_report import (
    Choice,
    Constraint,
    ParityCheck,
    RunReport,
    SizeOffer,
    Timing,
    TimingSource,
    encode_labels,
    read_report,
    render,
    timing_of,
    write_report,
)
from pipeline.run_report.assurance import Assurance, assurances
from pipeline.run_report.charts import FRONT_POINTS, all_charts, pareto_chart
from pipeline.run_report.decision import decide
from pipeline.run_report.figures import expected, full_path, speed_up, thinned
from pipeline.run_report.gallery import gallery
from pipeline.run_report.page import page as html
from pipeline.run_report.palette import DARK, LIGHT, Theme, class_colours
from pipeline.run_report.pictures import confidence_colours, decode_labels, encode_confidence, regions
from pipeline.run_report.tables import front_rows, promise
from pipeline.run_report.wording import configuration, duration, percent, points, significant

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def report() -> RunReport:
    return make_report()


@pytest.fixture(scope="module")
def page(report: RunReport, tmp_path_factory: pytest.TempPathFactory) -> str:
    destination = tmp_path_factory.mktemp("page") / "report.html"
    render(report, destination)
    return destination.read_text()


class Reader(HTMLParser):
    """Collects what the structure tests need: open elements, attributes that fetch, text outside script and style."""

    VOID = frozenset({"meta", "link", "img", "br", "path", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.links: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.text: list[str] = []
        self.counts: dict[str, int] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")]
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.stack and self.stack[-1] not in ("script", "style"):
            self.text.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    return reader


def words(page: str) -> str:
    """The visible text with plain spaces."""
    return " ".join("".join(read(page).text).split())


def changed(report: RunReport, **fields: object) -> RunReport:
    return msgspec.structs.replace(report, **fields)


def by_title(report: RunReport, part: str) -> Assurance:
    found = [line for line in assurances(report) if part in line.title]
    assert len(found) == 1, [line.title for line in assurances(report)]
    return found[0]


def test_report_survives_the_disk(report: RunReport, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_report(report, path)
    assert read_report(path) == report
    assert json.loads(path.read_text())["schema"] == 1


def test_rendering_from_the_disk_gives_the_same_page(report: RunReport, page: str, tmp_path: Path) -> None:
    write_report(report, tmp_path / "report.json")
    render(read_report(tmp_path / "report.json"), tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == page


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no report of a run"),
        (b"{", "no report of a run"),
        (b"\xff\xfe", "no report of a run"),
        (b"[]", "no report of a run"),
        (b"{}", "schema"),
        (b'{"schema": 2}', "has schema 2; this version reads schema 1"),
        (b'{"schema": 1, "run": "x"}', "missing required field"),
    ],
)
def test_bad_report_is_one_clear_line(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as raised:
        read_report(path)
    assert said in str(raised.value)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_missing_report_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no report at .*deploy"):
        read_report(tmp_path / "report.json")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda tree: tree["chosen"]["candidate"]["choice"].update(exits=[3, 1]), "ascending"),
        (lambda tree: tree["chosen"]["candidate"]["choice"].update(thresholds=[]), "takes 1 thresholds; got 0"),
        (lambda tree: tree["chosen"]["candidate"]["search"].update(exit_rates=[1.0]), "one exit rate per exit"),
        (lambda tree: tree["chosen"].update(paths=tree["chosen"]["paths"][:1]), "paths must leave at exits"),
        (lambda tree: tree["exits"].pop(), "out of range for 5 exits"),
        (lambda tree: tree["exit_scores"][0].update(class_iou=[0.5]), "one value per class"),
        (lambda tree: tree.update(surprise=1), "surprise"),
        (lambda tree: tree["table"].update(provenance="guessed"), "guessed"),
    ],
)
def test_contradictions_on_disk_are_found(report: RunReport, spoil, said: str, tmp_path: Path) -> None:
    tree = msgspec.to_builtins(report)
    tree = json.loads(msgspec.json.encode(tree))
    spoil(tree)
    (tmp_path / "report.json").write_text(json.dumps(tree))
    with pytest.raises(InputError, match=said):
        read_report(tmp_path / "report.json")


def test_page_asks_for_nothing_outside_itself(page: str) -> None:
    reader = read(page)
    assert reader.links
    assert all(link.startswith(("data:", "#")) for link in reader.links)
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style and "@import" not in style
    assert "default-src 'none'" in page


def test_page_is_well_formed_and_small(page: str) -> None:
    reader = read(page)
    assert reader.stack == []
    assert len(page.encode()) < 900_000
    assert page.count('id="packed"') == 1


def test_a_report_of_the_first_days_is_still_read_and_shown() -> None:
    """Written before fronts, certificate, entry points and hashes were on record."""
    old = read_report(GOLDEN / "report_schema_1.json")
    assert (old.fronts, old.certificate, old.entries, old.repeat.hashes) == ((), None, (), {})
    text = words(html(old))
    assert "faster than the full network" in text
    assert "None was asked for" in text


def test_the_certificate_says_what_is_promised_and_what_is_not(report: RunReport, page: str) -> None:
    text = words(page)
    assert report.certificate is not None
    assert "at most 0.02 on average, with probability 0.95 over the draw of the certify split" in text
    assert "0.0041 on 160 images, p = 0.031" in text
    assert "Beside it, not certified" in text and "−0.4 pp to +1.3 pp" in text.replace("\u202f", " ")
    for fact in (report.certificate.search_split, report.certificate.certify_split):
        assert fact in page


def test_conformal_risk_control_speaks_of_the_expectation(report: RunReport) -> None:
    assert report.certificate is not None
    crc = msgspec.structs.replace(report.certificate, method="crc", delta=None, p_value=None)
    assert "at most 0.02 in expectation" in promise(crc)
    assert "plays no part" in words(html(changed(report, certificate=crc)))


def test_every_input_size_is_told_with_what_it_offers(report: RunReport) -> None:
    assert "Input sizes" not in words(html(report))
    best = report.chosen.candidate
    offers = (
        SizeOffer(size=(96, 128), full_miou=0.4411, best=None, chosen=False),
        SizeOffer(size=(192, 256), full_miou=0.5822, best=best, chosen=True),
    )
    told = words(html(changed(report, sizes=offers)))
    assert "128 × 96 nothing meets the objective 44.1 %" in told
    row = f"256 × 192 {configuration(best.choice, report.exits)} {duration(best.search.latency_ns)} predicted"
    assert " ".join(row.split()) in told
    assert " ".join(f"{percent(best.search.miou)} 58.2 %".split()) in told


def test_quantisation_names_its_largest_loss(page: str) -> None:
    text = words(page).replace("\u202f", " ")
    assert "calibrated on 48 training images" in text
    assert "The largest loss: −0.5 pp (exit1 lraspp-r1)" in text


def test_layers_that_stayed_in_floating_point_are_named_with_their_reason(report: RunReport) -> None:
    assert report.quantisation is not None
    mixed = ("int8 costs 1.20pp of mIoU at most, 0.30pp with 1 of 98 layers in floating point:", "blocks.0.1: why")
    told = words(html(changed(report, quantisation=msgspec.structs.replace(report.quantisation, mixed=mixed))))
    assert all(line in told for line in mixed)


def test_entry_points_show_operators_and_stored_tensors(page: str) -> None:
    text = words(page)
    assert "58 of 60" in text and "softmax" in text
    assert "scale 1, zero point -128" in text


def test_what_a_second_run_has_to_show_is_on_the_page(report: RunReport, page: str) -> None:
    for value in (*report.repeat.hashes.values(), *report.repeat.also.values(), report.repeat.command):
        assert value in page


def test_a_front_lists_each_network_once(report: RunReport) -> None:
    rows = [row.candidate.choice for row in front_rows(report)]
    keys = [(c.exits, c.heads, c.thresholds, c.setting == "anytime") for c in rows]
    assert len(keys) == len(set(keys))


def test_confidence_maps_keep_their_values() -> None:
    levels = np.linspace(0, 1, 256).reshape(16, 16)
    assert np.abs(decode_labels(encode_confidence(levels)) / 255 - levels).max() < 1 / 500
    lightness = [0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in confidence_colours()]
    assert lightness == sorted(lightness)


def test_every_picture_says_what_it_shows(report: RunReport, page: str) -> None:
    images = read(page).images
    assert len(images) == sum(pictures(example) for example in report.examples)
    assert all(image["alt"] for image in images)
    for image in images:
        Image.open(io.BytesIO(base64.b64decode(str(image["src"]).split(",", 1)[1]))).verify()


def test_every_table_has_a_caption_and_headers(page: str) -> None:
    tables = re.findall(r"<table.*?</table>", page[: page.index("</main>")], re.S)
    assert len(tables) >= 9
    for table in tables:
        assert "<caption>" in table
        assert 'scope="col"' in table and 'scope="row"' in table


def test_every_latency_has_its_provenance_beside_it(report: RunReport) -> None:
    """With another provenance in the report, no word of the first one is left on the page but in the glossary."""
    for provenance in ("predicted", "emulated", "measured"):
        text = html(make_report(provenance))
        body = text[text.index("<main>") : text.index('<dl class="facts words">')]
        for other in {"predicted", "emulated", "measured"} - {provenance}:
            assert f'class="badge {other}"' not in body
        cells = re.findall(
            r"<t[dh][^>]*>(?:(?!</t[dh]>).)*?[\d.]+\u202f(?:ms|µs)(?:(?!</t[dh]>).)*</t[dh]>", body, re.S
        )
        assert len(cells) > 50
        bare = [cell for cell in cells if f"badge {provenance}" not in cell and " to " not in cell]
        front = body[body.index('aria-label="Pareto front"') :]
        front = front[: front.index("</table>")]
        assert all(cell in front for cell in bare)
        assert front.count(f"badge {provenance}") == 2


def test_warnings_stand_before_the_decision(report: RunReport, page: str) -> None:
    for warning in report.warnings:
        assert 0 < page.index(warning) < page.index("<h1>")


def test_names_from_outside_cannot_become_markup(report: RunReport, tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script><img src=http://example.org/x>"
    data = msgspec.structs.replace(report.data, classes=(evil, *CLASSES[1:]))
    spoilt = changed(
        report,
        run=evil,
        data=data,
        warnings=(evil,),
        majority=msgspec.structs.replace(report.majority, name=evil),
        repeat=msgspec.structs.replace(report.repeat, config=evil),
    )
    render(spoilt, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "<script>alert" not in text
    assert "<img src=http" not in text


def test_headline_gives_the_gain_over_the_strongest_single_exit(report: RunReport, page: str) -> None:
    gain = expected(report.strongest_single).ns / expected(report.chosen).ns
    whole = expected(report.reference).ns / expected(report.chosen).ns
    assert f"{gain:.2f}× faster than the strongest single-exit network" in words(page)
    assert gain != pytest.approx(whole, abs=0.01)
    assert f"{whole:.2f}×" in words(page)


def test_expected_latency_weighs_paths_by_test_images(report: RunReport) -> None:
    test = report.chosen.candidate.test
    assert test is not None
    by_hand = sum(rate * path.whole.ns for rate, path in zip(test.exit_rates, report.chosen.paths, strict=True))
    assert expected(report.chosen).ns == pytest.approx(by_hand)


def test_a_single_exit_winner_is_compared_with_the_full_network_alone() -> None:
    report = make_report("emulated", "budgeted")
    decision = decide(report)
    assert decision.alone
    assert "faster than the full network" in decision.headline
    assert [row.name for row in decision.compared] == ["Chosen", "Full network"]
    assert "routing" not in all_charts(report)


def test_figures_of_different_provenance_are_never_divided(report: RunReport) -> None:
    measured = TimingSource(provenance="measured", requested_unit="npu", actual_unit="npu")
    paths = tuple(
        msgspec.structs.replace(path, whole=msgspec.structs.replace(path.whole, source=measured))
        for path in report.strongest_single.paths
    )
    mixed = changed(report, strongest_single=msgspec.structs.replace(report.strongest_single, paths=paths))
    decision = decide(mixed)
    assert decision.strongest.speed_up is None
    assert "faster" not in decision.headline
    assert by_title(mixed, "Not every speed-up").level == "bad"


def test_a_slower_winner_is_not_called_faster(report: RunReport) -> None:
    slow = tuple(
        msgspec.structs.replace(path, whole=msgspec.structs.replace(path.whole, ns=9e7, low_ns=9e7, high_ns=9e7))
        for path in report.chosen.paths
    )
    spoilt = changed(report, chosen=msgspec.structs.replace(report.chosen, paths=slow))
    assert "faster" not in decide(spoilt).headline
    assert by_title(spoilt, "differs from its parts").level == "mind"


def test_intervals_of_a_speed_up_come_from_both_latencies() -> None:
    source = TimingSource(provenance="measured", requested_unit="cpu", actual_unit="cpu")
    fast = Timing(ns=10, low_ns=9, high_ns=11, samples=9, source=source)
    slow = Timing(ns=20, low_ns=18, high_ns=22, samples=9, source=source)
    gain = speed_up(fast, slow)
    assert gain is not None
    assert (gain.value, gain.low, gain.high) == (2, 18 / 11, 22 / 9)


def test_another_unit_than_asked_for_is_a_problem(report: RunReport) -> None:
    source = TimingSource(provenance="emulated", requested_unit="npu", actual_unit="cpu")
    paths = tuple(
        msgspec.structs.replace(path, whole=msgspec.structs.replace(path.whole, source=source))
        for path in report.chosen.paths
    )
    fallen = changed(report, chosen=msgspec.structs.replace(report.chosen, paths=paths))
    line = by_title(fallen, "Another unit answered")
    assert line.level == "bad"
    assert "NPU" in line.text and "CPU" in line.text


@pytest.mark.parametrize(("kind", "level"), [("PROVEN", "good"), ("PLAUSIBLE", "mind"), ("REFUTED", "bad")])
def test_whether_the_accelerator_ran_is_told_with_its_reasons(
    report: RunReport, kind: VerdictKind, level: str
) -> None:
    verdict = Verdict(kind, "npu", ("the counter of inferences grew by 9", "the control took 3 times longer"))
    paths = tuple(
        msgspec.structs.replace(path, whole=msgspec.structs.replace(path.whole, verdict=verdict))
        for path in report.chosen.paths
    )
    line = by_title(changed(report, chosen=msgspec.structs.replace(report.chosen, paths=paths)), "accelerator ran")
    assert (line.level, line.title) == (level, f"That the accelerator ran is {kind} (npu)")
    assert line.text == "the counter of inferences grew by 9; the control took 3 times longer."


def test_a_bound_that_breaks_on_test_images_is_said(report: RunReport) -> None:
    tight = changed(report, constraints=(Constraint(kind="min_miou", bound=report.chosen.candidate.search.miou),))
    test = report.chosen.candidate.test
    assert test is not None and test.miou < report.chosen.candidate.search.miou
    line = by_title(tight, "new images")
    assert line.level == "mind"
    assert line.title.startswith("Does not hold")


def test_failed_parity_is_a_problem(report: RunReport) -> None:
    failed = ParityCheck(
        place="phone", entry="stage_1", figure="equal labels", value=0.5, limit=0.9, at_most=False, samples=2
    )
    assert by_title(changed(report, parity=(*report.parity, failed)), "Parity failed").level == "bad"
    assert by_title(changed(report, parity=()), "not checked").level == "bad"


def test_optimal_is_claimed_only_when_proven() -> None:
    assert by_title(make_report(optimal=False), "may exist").level == "mind"
    assert "optimum is not proven" in words(
        __import__("pipeline.run_report.page", fromlist=["page"]).page(make_report(optimal=False))
    )


def test_sensitivity_counts_the_moves_that_change_the_winner(report: RunReport) -> None:
    assert "1 of 6 moves" in by_title(report, "Depends on the device model").text


def test_full_path_is_the_sum_that_the_report_gives(report: RunReport) -> None:
    steps = full_path(report)
    assert steps[-1].end_ns == pytest.approx(report.chosen.paths[-1].parts_ns)
    assert [step.part.kind for step in steps].count("head") == len(report.chosen.candidate.choice.exits)
    assert all(a.end_ns == b.start_ns for a, b in pairwise(steps))


def test_pareto_chart_shows_each_network_once(report: RunReport) -> None:
    chart = pareto_chart(report)
    text = json.dumps(chart)
    kinds = re.findall(r'"kind": "([^"]+)"', text)
    assert kinds.count("chosen") == kinds.count("strongest single exit") == kinds.count("full network") == 1


def test_a_long_front_is_thinned_and_keeps_its_ends(report: RunReport) -> None:
    many = [report.chosen.candidate] * 5 + [
        msgspec.structs.replace(
            report.chosen.candidate, search=msgspec.structs.replace(report.chosen.candidate.search, latency_ns=ns)
        )
        for ns in np.linspace(1e6, 9e6, 2000).tolist()
    ]
    kept = thinned(many, FRONT_POINTS)
    assert len(kept) == FRONT_POINTS
    assert (kept[0].search.latency_ns, kept[-1].search.latency_ns) == (1e6, 9e6)
    assert any(row.chosen for row in front_rows(changed(report, front=tuple(many))))


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


@pytest.mark.parametrize(
    ("ns", "said"),
    [(0, "0 ns"), (850, "0.850 µs"), (61_500, "61.5 µs"), (123_400, "0.123 ms"), (6_690_000, "6.69 ms"),
     (66_900_000, "66.9 ms"), (1_250_000_000, "1.25 s")],
)  # fmt: skip
def test_durations_read_well(ns: float, said: str) -> None:
    assert duration(ns).replace("\u202f", " ") == said


def test_numbers_keep_their_meaning() -> None:
    assert significant(1234.5) == "1,234"
    assert significant(0.9996) == "1.00"
    assert points(-0.0123).replace("\u202f", " ") == "−1.2 pp"
    assert points(0.00001).replace("\u202f", " ") == "±0.0 pp"
    assert percent(0.4567).replace("\u202f", " ") == "45.7 %"


def test_timing_of_a_measurement_keeps_what_it_is_worth(report: RunReport) -> None:
    measurement = Measurement(
        key="k", entry="stage_0", target="pixel7-npu", requested_unit="npu", actual_unit="cpu", provenance="emulated",
        samples_ns=(5, 6, 7), median_ns=6.0, low_ns=5.0, high_ns=7.0, load_ns=1, first_ns=9, peak_rss_kb=1,
        identity=report.device, state_before={}, state_after={}, versions={}, note="n",
    )  # fmt: skip
    timing = timing_of(measurement)
    assert (timing.ns, timing.low_ns, timing.high_ns, timing.samples, timing.note) == (6.0, 5.0, 7.0, 3, "n")
    assert timing.source == TimingSource(provenance="emulated", requested_unit="npu", actual_unit="cpu")
    predicted = timing_of(msgspec.structs.replace(measurement, provenance="predicted"))
    assert predicted.source == TimingSource(provenance="predicted", requested_unit="npu", actual_unit="npu")


def test_anytime_takes_no_thresholds() -> None:
    assert Choice(setting="anytime", exits=(0, 2), heads=("a", "b")).thresholds == ()
    with pytest.raises(ValueError, match="takes 0 thresholds"):
        Choice(setting="anytime", exits=(0, 2), heads=("a", "b"), thresholds=(0.5,))


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
