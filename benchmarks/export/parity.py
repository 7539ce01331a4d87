"""Parity of every exporter that runs here: one cascade of a checkpoint, exported in each form, on real test images.

`python benchmarks/export/parity.py CHECKPOINT --exits 1,3,4 --heads fcn-r1,lraspp-r1,lraspp-r1 --thresholds 0.7,0.8`

Per form: error of the logits and of the confidence against eager PyTorch, share of pixels with the same label, mIoU of
the cascade minus eager's, images that leave at another exit than eager's (and how many lie within the form's own
largest confidence error of a threshold: only those may), and the artifact's size against a file an entry. Rows of other
forms of the same case stay in the result file; a form that fails is told on stderr and has no row.
"""

import argparse
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from device_profiler.errors import InputError, VerificationError
from device_profiler.files import cache_folder, write_atomic
from device_profiler.targets import Precision
from device_profiler.workload import CascadePlan
from mobile_export.artifact import Artifact, OutputParity
from mobile_export.boundary import to_stored
from mobile_export.export_worker import export_in_worker
from mobile_export.parity import Samples, check_parity
from mobile_export.program import Program
from mobile_export.session import CascadeResult, HostSession
from pipeline.checkpoint import load_model, open_checkpoint
from pipeline.data import load_source
from pipeline.data.source import Split
from pipeline.evaluation import label_map, overlap
from pipeline.exit_statistics import mean_iou
from pipeline.partition import Partition, deployment_programs
from pipeline.policy_name import DEFAULT_POLICY
from pipeline.presets import PRESETS
from pipeline.progress import SilentProgress
from pipeline.quantized import calibration_images
from pipeline.shipping import chain_inputs

Arrays = tuple[NDArray[np.generic], ...]
IMAGES = 32
FORMS = (
    "executorch:fp32:.pte",
    "executorch:int8:.pte",
    "litert:fp32:.tflite",
    "litert:int8:.tflite",
    "coreml:fp32:.mlpackage",
    "coreml:fp16:.mlpackage",
    "coreml:w8:.mlpackage",
    "coreml:int8:.mlpackage",
    "executorch-qnn-sm8550:fp16:.pte",
    "executorch-qnn-sm8550:int8:.pte",
    "executorch-qnn-sm8650:fp16:.pte",
    "executorch-qnn-sm8650:int8:.pte",
)
"""RUNTIME:PRECISION:ENDING. Qualcomm's want its libraries (`mobile_export.qnn_sdk`), and minutes of emulation each."""


class Row(msgspec.Struct, frozen=True):
    """One form. Errors are the largest over stages and images, absolute; shares and mIoU in 0..1; sizes in bytes."""

    form: str
    checked_by: str
    passed: bool
    logits_error: float
    logits_mean_error: float
    confidence_error: float
    label_agreement: float
    clear_agreement: float
    miou_difference: float
    other_exit: int
    near_threshold: int
    size: int
    separate_size: int | None
    export_s: float


class Result(msgspec.Struct, frozen=True):
    """What was run, where, and a row a form. `data` tells a folder by its last name."""

    checkpoint: str
    data: str
    exits: tuple[int, ...]
    heads: tuple[str, ...]
    thresholds: tuple[float, ...]
    images: int
    eager_miou: float
    machine: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, eq=False)
class Case:
    """A cascade with eager PyTorch's answers on the test images that it is held against."""

    programs: tuple[Program, ...]
    plan: CascadePlan
    images: NDArray[np.float32]
    masks: tuple[NDArray[np.uint8], ...]
    samples: Samples
    eager: tuple[CascadeResult, ...]
    calibration: dict[str, list[Arrays]]
    classes: int
    ignore: int

    def miou(self, results: Sequence[CascadeResult]) -> float:
        """mIoU of the cascade's labels over the images."""
        counted = [
            overlap(label_map(result.labels, mask), mask, self.classes, self.ignore)
            for result, mask in zip(results, self.masks, strict=True)
        ]
        intersection, union = (np.sum(part, axis=0) for part in zip(*counted, strict=True))
        return mean_iou(intersection, union)


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", default="sample")
    parser.add_argument("--exits", required=True)
    parser.add_argument("--heads", required=True)
    parser.add_argument("--thresholds", required=True)
    parser.add_argument("--forms", default=",".join(FORMS))
    parser.add_argument("--separate", action="store_true", help="export every entry by itself as well, for its size")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "parity.json")
    arguments = parser.parse_args(words)
    torch.set_num_threads(1)
    exits = tuple(map(int, arguments.exits.split(",")))
    heads = tuple(arguments.heads.split(","))
    thresholds = tuple(map(float, arguments.thresholds.split(",")))
    case = prepare(arguments.checkpoint, arguments.data, exits, heads, thresholds)
    eager_miou = case.miou(case.eager)
    weights = open_checkpoint(arguments.checkpoint).description.weights_sha256
    for form in arguments.forms.split(","):
        try:
            row = measure(case, form, eager_miou, arguments.separate)
        except (InputError, VerificationError) as error:
            print(f"{form}: {error}", file=sys.stderr, flush=True)
            continue
        result = Result(
            weights, data_name(arguments.data), exits, heads, thresholds, len(case.images), eager_miou,
            platform.platform(), (row,),
        )
        result = with_others(result, arguments.output)
        write_atomic(arguments.output, msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
        print(table(result), flush=True)


@torch.inference_mode()
def prepare(
    checkpoint: Path, data: str, exits: tuple[int, ...], heads: tuple[str, ...], thresholds: tuple[float, ...]
) -> Case:
    """Load data and network, run eager PyTorch on the calibration and the test images."""
    opened = open_checkpoint(checkpoint)
    preset = PRESETS["quick"]
    source = load_source(
        data, size=opened.spec.size, area=preset.area, amounts=preset.amounts, progress=SilentProgress()
    )
    partition = Partition(load_model(opened), DEFAULT_POLICY)
    programs, plan = deployment_programs(partition, exits, heads, thresholds)
    chosen = np.linspace(0, len(source.test) - 1, IMAGES).astype(int)
    images = _images(source.test, chosen)
    chains = [chain_inputs(programs, images[i : i + 1]) for i in range(len(images))]
    calibrating = calibration_images(source.train)
    calibrated = [chain_inputs(programs, calibrating[i : i + 1]) for i in range(len(calibrating))]
    return Case(
        programs=programs,
        plan=plan,
        images=images,
        masks=tuple(source.test[int(i)].mask for i in chosen),
        samples={program.name: [chain[program.name] for chain in chains] for program in programs},
        eager=tuple(_eager(plan, chain) for chain in chains),
        calibration={program.name: [chain[program.name][0] for chain in calibrated] for program in programs},
        classes=len(source.classes.names),
        ignore=source.classes.ignore,
    )


def data_name(data: str) -> str:
    """A source as the result names it: no path of this machine."""
    kind, _, place = data.partition(":")
    return f"{kind}:{Path(place).name}" if place else kind


def with_others(result: Result, file: Path) -> Result:
    """`result` with the rows of other forms that a file holds of the same case, in the order of FORMS."""
    if not file.exists():
        return result
    known = msgspec.json.decode(file.read_bytes(), type=Result)
    if msgspec.structs.replace(known, rows=(), machine="") != msgspec.structs.replace(result, rows=(), machine=""):
        return result
    rows = {row.form: row for row in (*known.rows, *result.rows)}
    return msgspec.structs.replace(result, rows=tuple(sorted(rows.values(), key=lambda row: _place(row.form))))


def _place(form: str) -> int:
    return FORMS.index(form) if form in FORMS else len(FORMS)


def _images(split: Split, chosen: NDArray[np.int64]) -> NDArray[np.float32]:
    stacked = np.stack([split[int(i)].image for i in chosen]).astype(np.float32)
    return np.ascontiguousarray(stacked.transpose(0, 3, 1, 2))


def _eager(plan: CascadePlan, chain: dict[str, tuple[Arrays, Arrays]]) -> CascadeResult:
    """The cascade's answer by eager PyTorch, with the confidences of every stage, also those behind its exit."""
    confidences = tuple(float(chain[stage][1][2][0]) for stage in plan.stages[:-1])
    passing = [n for n, value in enumerate(confidences) if np.float32(value) >= np.float32(plan.thresholds[n])]
    left = passing[0] if passing else len(plan.stages) - 1
    entry = plan.finish[left] if left < len(plan.finish) else plan.stages[-1]
    return CascadeResult(left, confidences, chain[entry][1][0], 0)


def measure(case: Case, form: str, eager_miou: float, separate: bool) -> Row:
    """Export in one form, check every entry, run the cascade on every image."""
    runtime, stated, ending = form.split(":")
    precision = msgspec.convert(stated, Precision)
    folder = cache_folder("benchmarks", "parity", form.replace(":", "-"))
    begun = time.monotonic()
    artifact = _export(case, case.programs, runtime, precision, folder / f"model{ending}")
    took = time.monotonic() - begun
    report = check_parity(artifact, case.samples)
    port = artifact.entry(case.plan.stages[0]).inputs[0]
    with HostSession(Path(artifact.path), runtime) as session:
        results = [session.run_cascade(case.plan, to_stored(port, image[None])) for image in case.images]
    logits = [row for row in report.outputs if row.output == "logits"]
    confidence = max((row.max_abs_error for row in report.outputs if row.output == "confidence"), default=0.0)
    return Row(
        form=form,
        checked_by=report.checked_by,
        passed=report.passed,
        logits_error=max(row.max_abs_error for row in logits),
        logits_mean_error=max(row.mean_abs_error for row in logits),
        confidence_error=confidence,
        label_agreement=_least(report.outputs, "label_agreement"),
        clear_agreement=_least(report.outputs, "clear_agreement"),
        miou_difference=case.miou(results) - eager_miou,
        other_exit=sum(found.exit != expected.exit for found, expected in zip(results, case.eager, strict=True)),
        near_threshold=sum(_near(case.plan, expected, confidence) for expected in case.eager),
        size=artifact.size_bytes,
        separate_size=_separate(case, runtime, precision, ending, folder) if separate else None,
        export_s=took,
    )


def _export(case: Case, programs: tuple[Program, ...], runtime: str, precision: Precision, path: Path) -> Artifact:
    calibration = case.calibration if precision == "int8" else None
    return export_in_worker(runtime, programs, path, precision=precision, calibration=calibration)


def _separate(case: Case, runtime: str, precision: Precision, ending: str, folder: Path) -> int:
    return sum(
        _export(case, (program,), runtime, precision, folder / f"{program.name}{ending}").size_bytes
        for program in case.programs
    )


def _least(outputs: Sequence[OutputParity], field: str) -> float:
    return float(min(value for row in outputs if (value := getattr(row, field)) is not None))


def _near(plan: CascadePlan, result: CascadeResult, error: float) -> bool:
    pairs = zip(result.confidences, plan.thresholds, strict=True)
    return any(abs(confidence - threshold) <= error for confidence, threshold in pairs)


def table(result: Result) -> str:
    """The rows as Markdown."""
    lines = [
        "| form | logits error, mean | confidence error | labels agree, clear | mIoU - eager | other exit (near) | MB, "
        "separate | export |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in result.rows:
        separate = "" if row.separate_size is None else f", {row.separate_size / 1e6:.2f}"
        lines.append(
            f"| {row.form} | {row.logits_error:.2g}, {row.logits_mean_error:.2g} | {row.confidence_error:.2g} | "
            f"{row.label_agreement:.4f}, {row.clear_agreement:.4f} | {row.miou_difference:+.4f} | {row.other_exit} "
            f"({row.near_threshold}) | {row.size / 1e6:.2f}{separate} | {row.export_s:.0f} s |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main(sys.argv[1:])
