"""Core ML performance reports of Xcode (.mlperf) as measurements: only the fields whose meaning is sure.

Xcode 16 and later export a folder NAME.mlperf with report.json in it; a lone report.json is taken as well. Apple does
not document the format. Read are: `deviceResults.predict.samples` (every prediction, in seconds), `computeUnit` (raw
value of MLComputeUnits: 0 cpuOnly, 1 cpuAndGPU, 2 all, 3 cpuAndNeuralEngine; developer.apple.com/documentation/coreml/
mlcomputeunits), `deviceInfo.modelName`, `deviceInfo.osNameAndVersionWithoutBuildNumber` and `modelMetadata.fileName`
(names and units as public readers of such reports use them). Which unit really computed is not in there: it stays
unknown.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import msgspec

from device_profiler.errors import InputError
from device_profiler.imported import UNKNOWN, Foreign
from device_profiler.json_position import position, steps
from device_profiler.targets import Target, Unit

REPORT = "report.json"
COMPUTE_UNITS: Mapping[int, tuple[str, tuple[Unit, ...]]] = {
    0: ("cpuOnly", ("cpu",)),
    1: ("cpuAndGPU", ("gpu",)),
    2: ("all", ("npu", "gpu")),
    3: ("cpuAndNeuralEngine", ("npu",)),
}
_NS_PER_S = 1e9


class _Metadata(msgspec.Struct, rename="camel"):
    file_name: str = UNKNOWN


class _Device(msgspec.Struct, rename="camel"):
    model_name: str
    os_name_and_version_without_build_number: str = UNKNOWN


class _Predict(msgspec.Struct):
    samples: tuple[object, ...]


class _Results(msgspec.Struct):
    predict: _Predict


class _Report(msgspec.Struct, rename="camel"):
    device_info: _Device
    compute_unit: int
    device_results: _Results
    model_metadata: _Metadata = msgspec.field(default_factory=_Metadata)


def report_file(path: Path) -> Path:
    """The JSON file of a report: itself, or the one in its folder.

    Raises:
        InputError: a folder without one.
    """
    inside = path / REPORT if path.is_dir() else path
    if not inside.is_file():
        raise InputError(f"{path} holds no {REPORT}: it is no performance report of Xcode; export one from the model's "
                         "Performance tab")
    return inside


def read_report(path: Path, target: Target, key: str, entry: str) -> Foreign:
    """The figure of one report, for `entry` of the artifact whose hash is `key`.

    Raises:
        InputError: broken JSON or a wrong value (file, line and column), or another unit than the target's.
    """
    file = report_file(path)
    try:
        text = file.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is no UTF-8 text (byte {error.start + 1}): it is no performance report") from error
    report = _parsed(file, text)
    name, units = COMPUTE_UNITS.get(report.compute_unit, (UNKNOWN, ()))
    if target.unit not in units:
        raise _wrong(file, text, ("computeUnit",), f"{report.compute_unit} ({name}) is no figure of target "
                                                   f"{target.name}, which is for the {target.unit.upper()}")
    device = report.device_info
    return Foreign(
        key=f"{key}:{entry}",
        entry=entry,
        target=target.name,
        requested_unit=target.unit,
        actual_unit=UNKNOWN,
        samples_ns=_samples(file, text, report.device_results.predict.samples),
        device=device.model_name,
        soc=target.soc,
        os=device.os_name_and_version_without_build_number,
        fingerprint=f"imported {device.model_name} {device.os_name_and_version_without_build_number}",
        tool="Xcode Core ML performance report",
        note=f"{report.model_metadata.file_name}, compute units {name}; which unit computed is not in the report",
    )


def _parsed(file: Path, text: str) -> _Report:
    try:
        return msgspec.convert(json.loads(text), _Report)
    except json.JSONDecodeError as error:
        raise InputError(f"{file}, line {error.lineno}, column {error.colno}: {error.msg}: it is no JSON; export the "
                         "report again") from error
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `")
        raise _wrong(file, text, steps(place.rstrip("`")), f"{message}: it is no performance report") from error


def _samples(file: Path, text: str, samples: tuple[object, ...]) -> tuple[int, ...]:
    place = ("deviceResults", "predict", "samples")
    if not samples:
        raise _wrong(file, text, place, "no samples: nothing was predicted")
    return tuple(_nanoseconds(file, text, (*place, index), value) for index, value in enumerate(samples))


def _nanoseconds(file: Path, text: str, place: tuple[str | int, ...], value: object) -> int:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (number and isinstance(value, int | float) and math.isfinite(value) and value > 0):
        raise _wrong(file, text, place, f"{value!r} is no latency: a sample is a number of seconds above 0")
    return round(value * _NS_PER_S)


def _wrong(file: Path, text: str, place: tuple[str | int, ...], what: str) -> InputError:
    line, column = position(text, place)
    return InputError(f"{file}, line {line}, column {column}: {what}")
