"""Core ML export: one package with a function an entry that share weights, or a package an entry."""

import json
import logging
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import coremltools as ct
import coremltools.optimize as cto
import numpy as np
import torch

from device_profiler.errors import InputError
from device_profiler.files import sha256_path
from device_profiler.targets import Precision
from mobile_export.artifact import Artifact, EntryPoint, Port
from mobile_export.canonical import canonical
from mobile_export.canonical_coreml import COREML_REWRITES
from mobile_export.coreml_quantizer import CoremlQuantizer
from mobile_export.exporters import Calibration, check_programs, toolchain
from mobile_export.float_layers import check_float_layers, is_quantised
from mobile_export.mil_program import MAIN, PACKAGE, PACKAGES, functions_of, load_function, operators
from mobile_export.program import Program, TensorSpec
from mobile_export.pt2e import calibrated

PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "w8", "int8")
IMAGE_INPUT = "image"
"""An input of this name is an RGB image in 0..255: apps hand over a pixel buffer, nothing is converted."""
HANDED_ON = ("features", "features_in", "logits", "logits_in")
"""Between functions values stay in fp16 where the network computes in it; what the host reads is float32 or int32."""


def export(
    programs: Sequence[Program],
    destination: Path,
    *,
    precision: Precision = "fp16",
    calibration: Calibration | None = None,
) -> Artifact:
    """Export `programs` for iOS 18; see `exporters.Exporter`. The form follows the ending of `destination`.

    NAME.mlpackage is one package, a function an entry, weights shared. NAME.mlpackages is a folder with a package an
    entry: larger on disk, but an app loads only what it runs, and users report memory that grows with the number of
    functions (coremltools issue 2351). Precisions: fp32; fp16; w8, fp16 with 8-bit weights per channel; int8, weights
    and activations (W8A8), but for a program's `float_layers`, which stay in fp16.

    Raises:
        InputError: an unknown precision or ending, a program that can't be exported, int8 without calibration.
    """
    if precision not in PRECISIONS:
        raise InputError(f"the Core ML exporter offers {', '.join(PRECISIONS)}, not {precision!r}")
    if destination.suffix not in (PACKAGE, PACKAGES):
        raise InputError(
            f"{destination.name} must end in {PACKAGE} (one package) or {PACKAGES} (a package an entry point)"
        )
    check_programs(programs)
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    with _whole_folder(destination) as folder:
        _write(programs, folder, destination.suffix, precision, calibration)
    return Artifact(
        path=str(destination),
        sha256=sha256_path(destination),
        size_bytes=sum(file.stat().st_size for file in destination.rglob("*") if file.is_file()),
        runtime="coreml",
        precision=precision,
        entries=_entries(programs, destination, precision),
        toolchain=toolchain("coreml"),
    )


@contextmanager
def _whole_folder(destination: Path) -> Iterator[Path]:
    """A folder that takes the name `destination` when the block ends without an error, and is gone otherwise."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=f".{destination.name}.") as name:
        folder = Path(name, "whole")
        folder.mkdir()
        yield folder
        if destination.exists():
            destination.rename(Path(name, "replaced"))
        folder.rename(destination)


def _write(
    programs: Sequence[Program], folder: Path, form: str, precision: Precision, calibration: Calibration | None
) -> None:
    """Convert every program and lay the artifact out in `folder`, which is there and empty."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="packages.") as name:
        packages = {program.name: Path(name, f"{program.name}{PACKAGE}") for program in programs}
        for program in programs:
            _converted(program, precision, calibration).save(str(packages[program.name]))
        if form == PACKAGES:
            for package in packages.values():
                _settle(package)
                package.rename(folder / package.name)
            return
        together = Path(name, f"together{PACKAGE}")
        _join(packages, together)
        _settle(together)
        for item in together.iterdir():
            shutil.move(item, folder / item.name)


def _join(packages: dict[str, Path], destination: Path) -> None:
    """One package of several: equal weights are kept once."""
    description = ct.utils.MultiFunctionDescriptor()
    for name, package in packages.items():
        description.add_function(str(package), src_function_name=MAIN, target_function_name=name)
    description.default_function_name = next(iter(packages))
    ct.utils.save_multifunction(description, str(destination))


def _settle(package: Path) -> None:
    """Make the bytes depend on the content alone: items are numbered at random, maps are written in any order."""
    for model in package.rglob("*.mlmodel"):
        specification = ct.utils.load_spec(str(model))
        model.write_bytes(specification.SerializeToString(deterministic=True))
    manifest = package / "Manifest.json"
    text = manifest.read_text()
    for number, item in sorted(json.loads(text)["itemInfoEntries"].items(), key=lambda pair: str(pair[1]["path"])):
        text = text.replace(number, str(uuid.uuid5(uuid.NAMESPACE_OID, item["path"])).upper())
    manifest.write_text(json.dumps(json.loads(text), indent=4, sort_keys=True) + "\n")


def _converted(program: Program, precision: Precision, calibration: Calibration | None) -> Any:
    graph_module = canonical(program, COREML_REWRITES)
    if precision == "int8":
        check_float_layers(program, graph_module)
        graph_module = calibrated(program, graph_module, CoremlQuantizer(is_quantised(program)), calibration)
    exported = torch.export.export(graph_module, program.example_inputs(), strict=False).run_decompositions({})
    computed = ct.precision.FLOAT32 if precision == "fp32" else ct.precision.FLOAT16
    model = ct.convert(
        exported,
        inputs=[_input_type(spec, precision) for spec in program.inputs],
        outputs=[ct.TensorType(name=spec.name, dtype=_dtype(spec, precision)) for spec in program.outputs],
        minimum_deployment_target=ct.target.iOS18,
        compute_precision=computed,
        skip_model_load=True,
    )
    return _with_small_weights(model) if precision == "w8" else model


def _input_type(spec: TensorSpec, precision: Precision) -> Any:
    if _is_image(spec):
        return ct.ImageType(name=spec.name, shape=spec.shape, color_layout=ct.colorlayout.RGB)
    return ct.TensorType(name=spec.name, shape=spec.shape, dtype=_dtype(spec, precision))


def _is_image(spec: TensorSpec) -> bool:
    return spec.name == IMAGE_INPUT and len(spec.shape) == 4 and spec.shape[1] == 3


def _dtype(spec: TensorSpec, precision: Precision) -> type[np.generic]:
    if precision != "fp32" and spec.name in HANDED_ON and spec.dtype == "float32":
        return np.float16
    return np.dtype(spec.dtype).type


def _with_small_weights(model: Any) -> Any:
    """Weights as int8 with a scale a channel; they are widened to fp16 when the model is loaded or used."""
    each = cto.coreml.OpLinearQuantizerConfig(mode="linear_symmetric", dtype="int8", granularity="per_channel")
    return cto.coreml.linear_quantize_weights(model, config=cto.coreml.OptimizationConfig(global_config=each))


def _entries(programs: Sequence[Program], destination: Path, precision: Precision) -> tuple[EntryPoint, ...]:
    found = functions_of(destination)
    return tuple(
        EntryPoint(
            name=program.name,
            inputs=tuple(_port(spec, precision) for spec in program.inputs),
            outputs=tuple(_port(spec, precision) for spec in program.outputs),
            operators=tuple(operators(load_function(*found[program.name]))),
        )
        for program in programs
    )


def _port(spec: TensorSpec, precision: Precision) -> Port:
    dtype = "uint8" if _is_image(spec) else np.dtype(_dtype(spec, precision)).name
    return Port(TensorSpec(spec.name, spec.shape, dtype), layout="NCHW" if len(spec.shape) == 4 else "")
