"""Folders in which a command line shows its error: each function fills an empty one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SHAPE = (2, 1, 4, 2)
"""Exits, heads, images, classes of the small statistics."""


def configurations(folder: Path) -> None:
    """Configuration files with one mistake each."""
    files = {
        "broken.toml": "target",
        "unknown_key.toml": "tarhet = 'pixel7-cpu'",
        "not_a_flag.toml": "target = 'pixel7-cpu'\nrequire-device = 3",
        "bad_number.toml": "max-exits = 'many'",
        "password.toml": "target = 'pixel7-cpu'\nstore = 'postgresql://lab:secret@db/measurements'",
        "no_target.toml": "target = []",
        "bad_choice.toml": "target = 'pixel7-cpu'\nsetting = 'huge'",
    }
    for name, content in files.items():
        (folder / name).write_text(content)


def reports(folder: Path) -> None:
    """Run folders whose report.json can't be used."""
    contents = {"newer": '{"schema": 99}', "broken": "{", "other": '{"schema": 1}'}
    for name, content in contents.items():
        (folder / name).mkdir()
        (folder / name / "report.json").write_text(content)
    (folder / "folder" / "report.json").mkdir(parents=True)


def checkpoints(folder: Path) -> None:
    """Checkpoint folders that are none."""
    (folder / "empty").mkdir()
    (folder / "broken").mkdir()
    (folder / "broken" / "model.json").write_text("{")
    (folder / "broken" / "model.safetensors").write_bytes(b"")


def images(folder: Path) -> None:
    """`folder:` sources with one mistake each."""
    for name, spoil in SPOILED.items():
        source = folder / name
        source.mkdir()
        _source(source)
        spoil(source)


def searches(folder: Path) -> None:
    """statistics.npz and latency.json that fit each other, and copies with one mistake each."""
    arrays, table = _arrays(), _table()
    np.savez(folder / "statistics.npz", **arrays)
    (folder / "latency.json").write_text(json.dumps(table))
    for name, change in ARRAYS.items():
        np.savez(folder / f"{name}.npz", **{k: v for k, v in (arrays | change).items() if v is not None})
    for name, fields in TABLES.items():
        content = {key: value for key, value in (table | fields).items() if value is not None}
        (folder / f"{name}.json").write_text(json.dumps(content))
    np.save(folder / "single.npy", arrays["confidence"])
    (folder / "text.npz").write_text("no archive")
    np.savez(folder / "objects.npz", **(arrays | {"policy": np.array([None])}))
    (folder / "text.json").write_text("no JSON")


def _arrays() -> dict[str, Any]:
    exits, heads, count, _ = SHAPE
    union = np.full(SHAPE, 100, np.int64)
    return {
        "confidence": np.linspace(0.2, 0.9, exits * heads * count, dtype=np.float32).reshape(SHAPE[:3]),
        "intersection": union * np.array([60, 80]).reshape(exits, 1, 1, 1) // 100,
        "union": union,
        "exits": np.array(["exit1", "exit2"]),
        "heads": np.array([["fcn"], ["fcn"]]),
        "classes": np.array(["sky", "road"]),
        "images": np.array([f"image{i}" for i in range(count)]),
        "policy": np.array("mean"),
    }


def _table() -> dict[str, Any]:
    return {
        "schema": 1, "target": "pixel7-cpu", "provenance": "emulated", "unit": "ns",
        "blocks": [1e6, 2e6], "heads": [[1e5], [1e5]],
    }  # fmt: skip


_BASE = _arrays()
_NO_NUMBER = _BASE["confidence"].copy()
_NO_NUMBER[1, 0, 2] = np.nan
_TOO_MUCH = _BASE["intersection"].copy()
_TOO_MUCH[0, 0, 3, 1] = 101

ARRAYS: dict[str, dict[str, Any]] = {
    "schema": {"schema": np.array(9)},
    "missing": {"policy": None},
    "unknown": {"latency": np.zeros(1)},
    "double": {"confidence": _BASE["confidence"].astype(np.float64)},
    "real_pixels": {"union": _BASE["union"].astype(np.float32)},
    "policies": {"policy": np.array(["mean", "share"])},
    "numbers": {"exits": np.array([1, 2])},
    "flat_heads": {"heads": np.array(["fcn", "fcn"])},
    "reference_shape": {"reference": np.array([1, 0, 0])},
    "no_reference": {"heads": np.array([["fcn"], [""]])},
    "no_images": {
        "images": np.array([], dtype=np.str_),
        "confidence": np.zeros((2, 1, 0), np.float32),
        "intersection": np.zeros((2, 1, 0, 2), np.int64),
        "union": np.zeros((2, 1, 0, 2), np.int64),
    },
    "same_exits": {"exits": np.array(["exit1", "exit1"])},
    "same_heads": {
        "heads": np.array([["fcn", "fcn"], ["fcn", "lraspp"]]),
        "confidence": np.zeros((2, 2, 4), np.float32),
        "intersection": np.zeros((2, 2, 4, 2), np.int64),
        "union": np.zeros((2, 2, 4, 2), np.int64),
    },
    "no_heads": {"heads": np.array([[""], [""]]), "reference": np.array([1, 0])},
    "shape": {"confidence": np.zeros((2, 1, 3), np.float32)},
    "reference": {"reference": np.array([4, 0])},
    "confidence": {"confidence": _NO_NUMBER},
    "overlap": {"intersection": _TOO_MUCH},
    "int8": {"precision": np.array("int8")},
}

TABLES: dict[str, dict[str, Any]] = {
    "no_schema": {"schema": None},
    "schema": {"schema": 9},
    "provenance": {"provenance": "guessed"},
    "unit": {"unit": "hours"},
    "multiply_adds": {"unit": "multiply-adds"},
    "no_blocks": {"blocks": [], "heads": []},
    "rows": {"heads": [[1e5]]},
    "negative": {"blocks": [-1.0, 2e6]},
    "infinite": {"blocks": [float("inf"), 2e6]},
    "interval": {"details": {"block_0": {"interval": [2, 1]}}},
    "other_network": {"blocks": [1.0, 1.0, 1.0], "heads": [[1.0], [1.0], [1.0]]},
    "other_exits": {"exits": ["exit1", "exit9"]},
    "precision": {"precision": "fp32"},
    "head_shape": {"head_names": [["fcn", "fcn"], ["fcn", "fcn"]]},
    "head_names": {"head_names": [["fcn"], ["lraspp"]]},
    "no_full": {"heads": [[1e5], [None]]},
    "no_candidate": {"heads": [[None], [None]]},
}


def _source(folder: Path) -> None:
    (folder / "classes.toml").write_text('names = ["a", "b"]\n')
    for split in ("train", "val"):
        for kind, shape in ((split, (32, 32, 3)), (f"{split}annot", (32, 32))):
            (folder / kind).mkdir()
            for index in range(12):
                Image.fromarray(np.full(shape, index % 2, np.uint8)).save(folder / kind / f"im_{index:03d}.png")


def _mask(shape: tuple[int, ...], value: int) -> Callable[[Path], None]:
    return lambda folder: Image.fromarray(np.full(shape, value, np.uint8)).save(folder / "trainannot" / "im_003.png")


def _classes(content: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / "classes.toml").write_text(content)

    return spoil


def _without(*names: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        for name in names:
            for path in sorted((folder / name).iterdir()):
                path.unlink()
            (folder / name).rmdir()

    return spoil


def _one_class(folder: Path) -> None:
    (folder / "classes.toml").unlink()
    for path in [*(folder / "trainannot").iterdir(), *(folder / "valannot").iterdir()]:
        Image.fromarray(np.zeros((32, 32), np.uint8)).save(path)


def _few(folder: Path) -> None:
    for kind in ("train", "trainannot"):
        for path in sorted((folder / kind).iterdir())[1:]:
            path.unlink()


def _cut_image(folder: Path) -> None:
    path = folder / "train" / "im_005.png"
    path.write_bytes(path.read_bytes()[:60])


SPOILED: dict[str, Callable[[Path], None]] = {
    "rgb_mask": _mask((32, 32, 3), 1),
    "unknown_id": _mask((32, 32), 7),
    "mask_size": _mask((16, 16), 1),
    "no_mask": lambda folder: (folder / "trainannot" / "im_003.png").unlink(),
    "no_training": _without("train", "trainannot"),
    "nothing": _without("train", "trainannot", "val", "valannot"),
    "one_name": _classes('names = ["a"]'),
    "colors": _classes('names = ["a", "b"]\ncolors = [[0, 0, 0]]'),
    "bad_classes": _classes('names = 3'),
    "one_class": _one_class,
    "too_few": _few,
    "no_image": lambda folder: (folder / "train" / "im_005.png").write_text("text") and None,
    "cut_image": _cut_image,
}


def exchanges(folder: Path) -> None:
    """Files that `devices import` can't take over, and one that it could not write to."""
    (folder / "none.mlperf").mkdir()
    (folder / "broken.json").write_text("{")
    header = "key,entry,target,provenance,device,ns\n"
    rows = {
        "empty": "",
        "columns": "key,ns\na,1\n",
        "unknown": f"{header[:-1]},colour\na,b,pixel7-cpu,measured,P,1,red\n",
        "text": f"{header}a,b,pixel7-cpu,measured,P,many\n",
        "negative": f"{header}a,b,pixel7-cpu,measured,P,-1\n",
        "target": f"{header}a,b,pixel9,measured,P,1\n",
        "provenance": f"{header}a,b,pixel7-cpu,emulated,P,1\n",
        "device": f"{header}a,b,pixel7-cpu,measured,,1\n",
    }
    for name, content in rows.items():
        (folder / f"{name}.csv").write_text(content)
    (folder / "photo.png").write_bytes(b"")
    (folder / "latin.json").write_bytes("é".encode("latin-1"))


def tools(folder: Path) -> None:
    """A benchmark_model that can be executed."""
    (folder / "benchmark_model").write_text("#!/bin/sh\n")
    (folder / "benchmark_model").chmod(0o755)
