"""What a reader finds on the report's page: all of it, honestly worded, nothing from outside."""

import base64
import io
import re
from pathlib import Path

import msgspec
import pytest
from PIL import Image
from report_factory import CLASSES, changed, make_report, pictures
from report_reader import read, words

from pipeline.run_report import RunReport, SizeOffer, render
from pipeline.run_report.page import page as html
from pipeline.run_report.tables import promise
from pipeline.run_report.wording import configuration, duration, percent, points, significant


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
    assert "Labels of all are compared at 256 × 192." in told
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
