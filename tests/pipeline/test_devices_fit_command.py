"""`devices fit` as a user types it."""

import json
from pathlib import Path

import msgspec
import pytest
from measurement_example import ONE

from device_profiler.errors import InputError
from device_profiler.prediction import load_model, predict, read_model, scaled
from device_profiler.store import Store
from device_profiler.workload import Operator
from pipeline.__main__ import run


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Figures of the TPU, imported, of a machine with half the bandwidth and a third of the overhead."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    load_model.cache_clear()
    machine = scaled(scaled(load_model("tensor-g2-tpu"), "bandwidth", 0.5), "invocation_overhead", 0.33)
    place = str(tmp_path / "store.sqlite")
    with Store(place) as kept:
        for n in range(24):
            kinds = ("CONV_2D", "ADD", "DEPTHWISE_CONV_2D")[: 1 + n % 3] * (1 + n // 3)
            work = tuple(Operator(kind, 10**6 * (n + 1) * (kind != "ADD"), 1000, 10**5 * (n + 1), 10**5, True)
                         for kind in kinds)
            kept.keep_operators(f"{n}", work)
            ns = predict(work, machine).total_ns
            kept.add(msgspec.structs.replace(ONE, key=f"{n}", target="pixel7-npu", provenance="imported", median_ns=ns))
    yield place
    load_model.cache_clear()


def test_a_saved_fit_is_used_from_then_on(store: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    shipped = load_model("tensor-g2-tpu")
    assert run(["devices", "fit", "tensor-g2-tpu", "--store", store, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["report"]["parts"] == 24 and result["written"] == []
    assert result["report"]["median_error"] < 0.05 < result["report"]["before_median"]
    load_model.cache_clear()
    assert load_model("tensor-g2-tpu") == shipped
    out = tmp_path / "fitted.toml"
    assert run(["devices", "fit", "tensor-g2-tpu", "--store", store, "--save", "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert "on parts left out it errs by" in told and "written:" in told
    load_model.cache_clear()
    used = load_model("tensor-g2-tpu")
    assert used == read_model(out) and used.fingerprint == result["model"] != shipped.fingerprint


def test_bad_input_is_one_line(store: str, tmp_path: Path) -> None:
    for words, told in (
        (["tensor-g3-tpu"], "unknown device model 'tensor-g3-tpu'; known: "),
        (["sm8550-gpu"], "no target uses sm8550-gpu|0 measured parts"),
        (["tensor-g2-tpu", "--target", "pixel7-cpu"], "0 measured parts are too few"),
    ):
        with pytest.raises(InputError, match=told):
            run(["devices", "fit", *words, "--store", store])
    broken = tmp_path / "config" / "mess-deploy" / "device_models" / "tensor-g2-tpu.toml"
    broken.parent.mkdir(parents=True)
    broken.write_text("name = 3\n")
    load_model.cache_clear()
    with pytest.raises(InputError, match=r"tensor-g2-tpu\.toml can't be read: .*remove it to use the shipped one"):
        load_model("tensor-g2-tpu")
