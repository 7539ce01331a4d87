"""LiteRT's official benchmark_model, given by path: pushed, run for every entry, its figures kept as measurements.

It reaches units that our runners don't: the TPU of a Pixel 7, by NNAPI. It gives statistics of a launch, not every run:
a measurement's samples are the medians of several launches, in shuffled order. What an accelerator is said to have done
gets a verdict, from the phone's own witnesses and from launches on the CPU alone.
"""

import os
import random
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from device_profiler import conditions, phone_settings
from device_profiler.benchmark_output import FALLBACK, BenchmarkOutput, parse_output
from device_profiler.device import Device, read_state
from device_profiler.errors import DeviceError, InputError, VerificationError
from device_profiler.files import sha256_path
from device_profiler.intervals import Interval, median_interval
from device_profiler.measurement import Measurement
from device_profiler.runner.client import DEVICE_FOLDER
from device_profiler.store import PROTOCOL
from device_profiler.targets import Target, Unit, all_targets
from device_profiler.transport import ShellResult, Transport
from device_profiler.verdict import Evidence, judge
from device_profiler.witness import Growth, growth, read_witness
from device_profiler.workload import Workload

TOOL_PROTOCOL = "benchmark_model 2"
LAUNCHES = 5
CONTROL_LAUNCHES = 2
RESTING_S = 2.0
"""How long the phone's power rails are watched at rest."""
RUNS, MOST_SECONDS = 50, 60.0
_LAUNCH_TIMEOUT_S = 300.0
_PUSH_TIMEOUT_S = 300.0
_ELF, _ARM64 = b"\x7fELF", 183
_STRICT = "--require_full_delegation=true"
_CPU_FLAGS = ("--use_nnapi=false", "--use_gpu=false", "--use_xnnpack=true")
_MACHINES = {3: "x86", 40: "32-bit arm", 62: "x86-64"}


@dataclass(frozen=True)
class BenchmarkTool:
    """The tool on this machine; `digest`: hash of its content."""

    path: Path
    digest: str

    @property
    def name(self) -> str:
        """As measurements name it."""
        return f"benchmark_model {self.digest[:12]}"


def find_tool(path: Path) -> BenchmarkTool:
    """The tool at `path`.

    Raises:
        InputError: there is no such file, it is not executable, or it is for another kind of processor.
    """
    if not path.is_file():
        raise InputError(f"--tool {path} is no file; give LiteRT's benchmark_model for android_aarch64")
    if not os.access(path, os.X_OK):
        raise InputError(f"--tool {path} is not executable; if it is LiteRT's benchmark_model: chmod +x {path}")
    with path.open("rb") as stream:
        header = stream.read(20)
    machine = int.from_bytes(header[18:20], "little")
    if header.startswith(_ELF) and machine != _ARM64:
        built_for = _MACHINES.get(machine, f"machine {machine}")
        raise InputError(f"--tool {path} is built for {built_for}, phones are arm64: give the build for "
                         "android_aarch64")
    return BenchmarkTool(path, sha256_path(path))


def tool_protocol(tool: BenchmarkTool) -> str:
    """What kept figures must agree in to be used again: how this module measures, and with which tool."""
    return f"{TOOL_PROTOCOL} {tool.digest[:12]}"


def check_reach(target: Target) -> None:
    """Refuse a target whose unit the tool can't reach.

    Raises:
        InputError: it can't; those that it can are listed.
    """
    if target.runtime != "litert" or not target.benchmark_flags:
        able = [one.name for one in all_targets() if one.runtime == "litert" and one.benchmark_flags]
        raise InputError(f"benchmark_model does not reach target {target.name} ({target.unit} by {target.runtime}): "
                         f"leave --tool out, or choose one of {', '.join(able)}")


def command_line(
    tool: str, graph: str, target: Target, entry: str, *, threads: int = 1, unit_flags: Sequence[str] | None = None
) -> str:
    """The shell command that times one entry (signature) of `graph`, both paths on the phone.

    `unit_flags`: instead of those that reach the target's unit.

    Raises:
        InputError: the tool can't reach the target's unit.
    """
    check_reach(target)
    unit_flags = target.benchmark_flags if unit_flags is None else unit_flags
    flags = [f"--graph={graph}", f"--signature_to_run_for={entry}", f"--num_threads={threads}", f"--num_runs={RUNS}",
             f"--max_secs={MOST_SECONDS:g}", *unit_flags]
    return shlex.join([tool, *flags])


@dataclass(frozen=True)
class _Commands:
    """The shell commands of one entry: on the target's unit, and on the CPU alone."""

    unit: str
    control: str


@dataclass
class _Taken:
    """What the launches of one entry gave: on the unit, with what the phone's witnesses saw, and on the CPU alone."""

    outputs: list[BenchmarkOutput]
    seen: Growth
    control: list[BenchmarkOutput]


def measure_with_tool(device: Device, target: Target, tool: BenchmarkTool, artifact: Path,
                      workloads: Sequence[Workload], *, launches: int = LAUNCHES, seed: int = 0,
                      allow_fallback: bool = False) -> list[Measurement]:
    """Latency of entries of `artifact`, in the order of `workloads`; no outputs, for the tool gives none.

    With `allow_fallback` a figure that the target's unit did not give alone is kept, under the name of what ran.

    Raises:
        InputError: the target is not one that the tool can reach.
        VerificationError: nodes fell off the target's unit, or its verdict is REFUTED; or the file can't run.
        DeviceError: the phone failed, is not fit, or the tool's output was cut off.
    """
    transport = device.transport
    commands = _install(transport, target, tool, artifact, workloads, allow_fallback)
    order = [index for _ in range(launches) for index in range(len(workloads))]
    random.Random(seed).shuffle(order)
    taken = [_Taken([], Growth(), []) for _ in workloads]
    pause = conditions.pause_on(transport, device.identity)
    before = conditions.wait_until_fit(transport, pause=pause)
    with phone_settings.steady(transport):
        resting = _resting(transport, target.unit) if target.unit != "cpu" else Growth()
        for index in order:
            entry = workloads[index].call.entry
            start = read_witness(transport, target.unit)
            taken[index].outputs.append(_launch(transport, commands[index].unit, target, entry, allow_fallback))
            taken[index].seen += growth(start, read_witness(transport, target.unit))
        if target.unit != "cpu":
            for one, command, work in zip(taken, commands, workloads, strict=True):
                one.control += [_control(transport, command.control, work) for _ in range(CONTROL_LAUNCHES)]
    after = read_state(transport)
    return [_judged(_measurement(device, target, tool, work, one.outputs, before, after), target, one, resting,
                    allow_fallback)
            for work, one in zip(workloads, taken, strict=True)]


def _install(transport: Transport, target: Target, tool: BenchmarkTool, artifact: Path,
             workloads: Sequence[Workload], allow_fallback: bool) -> list[_Commands]:
    """Push the tool and the file; the commands of every entry."""
    folder = f"{DEVICE_FOLDER}/tools"
    place, graph = f"{folder}/{tool.digest[:12]}", f"{folder}/{sha256_path(artifact)[:12]}{target.suffix}"
    flags = [flag for flag in target.benchmark_flags if not (allow_fallback and flag == _STRICT)]
    entries = [work.call.entry for work in workloads]
    commands = [_Commands(command_line(place, graph, target, entry, unit_flags=flags),
                          command_line(place, graph, target, entry, unit_flags=_CPU_FLAGS)) for entry in entries]
    _succeed(transport, f"mkdir -p {folder}")
    transport.push(tool.path, place, timeout_s=_PUSH_TIMEOUT_S)
    transport.push(artifact, graph, timeout_s=_PUSH_TIMEOUT_S)
    return commands


def _resting(transport: Transport, unit: Unit) -> Growth:
    """What the witnesses see while nothing runs; no time is spent on a phone that has no rails to read."""
    start = read_witness(transport, unit)
    if not start.rails_mj:
        return Growth()
    time.sleep(RESTING_S)
    return growth(start, read_witness(transport, unit))


def _launch(transport: Transport, command: str, target: Target, entry: str, allow_fallback: bool) -> BenchmarkOutput:
    answer = transport.shell(command, timeout_s=_LAUNCH_TIMEOUT_S)
    told = _told(answer)
    if FALLBACK in answer.output:
        raise VerificationError(f"{entry} does not run on the {target.unit.upper()} of {target.device} alone: it fell "
                                f"back to the CPU ({told}); choose a CPU target, or heads without such operators")
    output = _output(transport, answer, entry)
    if target.unit != "cpu" and not output.complete and not allow_fallback:
        raise VerificationError(f"{entry} does not run on the {target.unit.upper()} of {target.device} alone: "
                                f"{output.delegate or 'no delegate'} took a part of the graph at most; "
                                f"--allow-fallback keeps such figures, under the name of what ran")
    return output


def _control(transport: Transport, command: str, work: Workload) -> BenchmarkOutput:
    answer = transport.shell(command, timeout_s=_LAUNCH_TIMEOUT_S)
    return _output(transport, answer, f"{work.call.entry} (the control on the CPU)")


def _told(answer: ShellResult) -> str:
    return " | ".join(line for line in answer.output.splitlines() if "ERROR" in line or "WARN" in line)[-300:]


def _output(transport: Transport, answer: ShellResult, entry: str) -> BenchmarkOutput:
    if answer.exit_code != 0:
        raise VerificationError(f"benchmark_model can't run {entry} on {transport.address} (code {answer.exit_code}): "
                                f"{_told(answer) or answer.output.strip()[-200:]}")
    output = parse_output(answer.output)
    if output is None:
        raise DeviceError(f"benchmark_model's output for {entry} on {transport.address} was cut off: "
                          f"{answer.output.strip()[-200:] or 'it is empty'}; run it again")
    return output


def _judged(measurement: Measurement, target: Target, taken: _Taken, resting: Growth,
            allow_fallback: bool) -> Measurement:
    """With its verdict and what really ran, where an accelerator was asked for.

    Raises:
        VerificationError: the verdict is REFUTED and no fallback is allowed.
    """
    unit = target.unit
    if unit == "cpu":
        return measurement
    complete = all(output.complete for output in taken.outputs)
    verdict = judge(Evidence(
        unit, sum(output.inferences for output in taken.outputs), taken.seen, resting, complete,
        Interval(measurement.median_ns, measurement.low_ns, measurement.high_ns),
        median_interval([[round(output.runs.typical)] for output in taken.control]),
        emulated=measurement.identity.emulated,
    ))
    if verdict.kind != "REFUTED":
        return msgspec.structs.replace(measurement, verdict=verdict)
    if not allow_fallback:
        raise VerificationError(f"{measurement.entry} did not run on the {unit.upper()}: {'; '.join(verdict.reasons)}; "
                                "--allow-fallback keeps the figure, under the name of what ran")
    partly = not complete and any(output.delegate for output in taken.outputs)
    return msgspec.structs.replace(measurement, verdict=verdict, actual_unit=f"{unit}+cpu" if partly else "cpu")


def _measurement(device: Device, target: Target, tool: BenchmarkTool, work: Workload,
                 outputs: Sequence[BenchmarkOutput], before: dict[str, str], after: dict[str, str]) -> Measurement:
    samples = tuple(round(output.runs.typical) for output in outputs)
    interval = median_interval([[sample] for sample in samples])
    return Measurement(
        key=work.key,
        entry=work.call.entry,
        target=target.name,
        requested_unit=target.unit,
        actual_unit=target.unit,
        provenance=device.provenance,
        samples_ns=samples,
        median_ns=interval.median,
        low_ns=interval.low,
        high_ns=interval.high,
        load_ns=outputs[-1].load_ns,
        first_ns=outputs[-1].first_ns,
        peak_rss_kb=max(output.memory_kb for output in outputs),
        identity=device.identity,
        state_before=before,
        state_after=after,
        versions={PROTOCOL: tool_protocol(tool), "tool": tool.name},
        note=_note(outputs),
    )


def _note(outputs: Sequence[BenchmarkOutput]) -> str:
    """What the samples are, and by whom the graph ran."""
    kind = "mean (this benchmark_model gives no median)" if outputs[0].runs.median is None else "median"
    ran = outputs[0].delegate or "no explicit delegate"
    least, most = min(o.runs.least for o in outputs), max(o.runs.most for o in outputs)
    return (f"each sample is the {kind} of one launch of {outputs[0].runs.count} runs or more, single runs from "
            f"{least / 1e6:.3f} to {most / 1e6:.3f} ms; {ran}; outputs were not compared")


def _succeed(transport: Transport, command: str) -> None:
    result = transport.shell(command)
    if result.exit_code != 0:
        raise DeviceError(f"{transport.address} refused {command!r}: {result.output.strip()[-200:]}")
