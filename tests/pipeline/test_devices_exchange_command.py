"""`devices import` and `devices export` as a user types them."""

import json
from pathlib import Path

import msgspec
import pytest
from measurement_example import ONE

from device_profiler import vendor_terms
from device_profiler.errors import InputError, PipelineError
from device_profiler.store import Store
from pipeline.__main__ import run

XCODE = Path(__file__).parents[1] / "golden" / "xcode.mlperf"
CSV = "key,entry,target,device,ns\nabc,main,pixel7-cpu,Pixel 7,1000\nabc,main,pixel7-cpu,Pixel 7,3000\n"


@pytest.fixture
def store(tmp_path: Path) -> str:
    return str(tmp_path / "store.sqlite")


@pytest.fixture
def table(tmp_path: Path) -> str:
    path = tmp_path / "lab.csv"
    path.write_text(CSV)
    return str(path)


def test_a_table_comes_in_and_goes_out_again(
    store: str, table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["devices", "import", table, "--store", store]) == 0
    told = capsys.readouterr().out
    assert "imported, 2 samples on Pixel 7 for pixel7-cpu" in told and "2 us" in told
    out = tmp_path / "out.csv"
    assert run(["devices", "export", str(out), "--store", store, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["rows"], result["measurements"], result["warnings"]) == (2, {"pixel7-cpu": 1}, [])
    assert out.read_text().count(",imported,") == 2


def test_only_what_was_asked_for_is_exported(store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Store(store) as kept:
        kept.add_all([ONE, msgspec.structs.replace(ONE, target="pixel7-npu", provenance="predicted")])
    asked = ["--target", "pixel7-npu", "--provenance", "predicted", "--format", "csv"]
    assert run(["devices", "export", str(tmp_path / "samples"), "--store", store, *asked, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["measurements"] == {"pixel7-npu": 1}


def test_an_export_tells_of_the_terms_that_bind_it(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    terms = vendor_terms.VendorTerms("Maker", "its SDK", "Google Tensor G2", ("npu",), "keep it to yourself", "the SDK")
    monkeypatch.setattr(vendor_terms, "all_terms", lambda: (terms,))
    with Store(store) as kept:
        kept.add_all([ONE, msgspec.structs.replace(ONE, target="pixel7-npu", provenance="predicted")])
    out = str(tmp_path / "samples.csv")
    assert run(["devices", "export", out, "--store", store, "--target", "pixel7-cpu"]) == 0
    assert "warning" not in capsys.readouterr().err
    assert run(["devices", "export", out, "--store", store]) == 0
    told = capsys.readouterr().err
    assert "warning: figures for pixel7-npu: where they were taken with its SDK, keep it to yourself" in told


def test_a_report_of_xcode_says_what_it_is_not(store: str, table: str) -> None:
    named = ["--target", "pixel7-npu", "--artifact", table]
    assert run(["devices", "import", str(XCODE), "--store", store, *named]) == 0
    with Store(store) as kept:
        [one] = kept.find()
    assert (one.measurement.provenance, one.measurement.actual_unit) == ("imported", "unknown")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["import", "nowhere.csv"], "nowhere.csv does not exist"),
        (["import", "TABLE", "--target", "pixel7-cpu"], "--target belongs to a report of Xcode"),
        (["import", str(XCODE)], "give --target NAME and --artifact PATH"),
        (["import", str(XCODE), "--target", "nokia3310", "--artifact", "TABLE"], "unknown target 'nokia3310'"),
        (["import", str(XCODE), "--target", "pixel7-cpu", "--artifact", "TABLE"], r"line 4, column 18: 2 \(all\) is"),
        (["export", "samples.txt"], r"end it in \.csv or \.parquet"),
        (["export", "samples.csv", "--target", "nokia3310"], "unknown target 'nokia3310'"),
        (["export", "/proc/samples.csv"], "can't write /proc/samples.csv"),
        (["export", "samples.csv", "--store", "postgresql://me:geheim@lab/figures"], "carries no password"),
        (["import", "TABLE", "--store", "/proc/store.sqlite"], "can't be opened"),
        (["import", "TABLE", "--store", "/dev/null/folder/store.sqlite"], "can't be opened: Not a directory"),
    ],
)
def test_bad_input_is_one_line(store: str, table: str, words: list[str], told: str) -> None:
    words = [table if word == "TABLE" else word for word in words]
    with pytest.raises(PipelineError, match=told) as error:
        run(["devices", words[0], *["--store", store], *words[1:]])
    assert isinstance(error.value, InputError) and "\n" not in str(error.value) and "geheim" not in str(error.value)


def test_the_store_is_a_key_of_a_configuration_file(store: str, table: str, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'store = "{store}"\n')
    assert run(["devices", "import", table, "--config", str(config)]) == 0
    with Store(store) as kept:
        assert len(list(kept.find())) == 1
