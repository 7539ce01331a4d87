"""LiteRT's official benchmark_model, given by path: pushed, run for every entry, its figures kept as measurements.

It reaches units that our runners don't: the TPU of a Pixel 7, by NNAPI. It gives statistics of a launch, not every run:
a measurement's samples are the medians of several launches, in shuffled order.
"""

import os
import random
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from device_profiler import conditions
from device_profiler.benchmark_output import FALLBACK, BenchmarkOutput, parse_output
from device_profiler.device import Device, read_state
from device_profiler.errors import DeviceError, InputError, VerificationError
from device_profiler.files import sha256_path
from device_profiler.intervals import median_interval
from device_profiler.measurement import Measurement
from device_profiler.runner.client import DEVICE_FOLDER
from device_profiler.store import PROTOCOL
from device_profiler.targets import Target, all_targets
from device_profiler.transport import Transport
from device_profiler.workload import Workload

TOOL_PROTOCOL = "benchmark_model 1"
LAUNCHES = 5
RUNS, MOST_SECONDS = 50, 60.0
_LAUNCH_TIMEOUT_S = 300.0
_PUSH_TIMEOUT_S = 300.0
_ELF, _ARM64 = b"\x7fELF", 183
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


def command_line(tool: str, graph: str, target: Target, entry: str, *, threads: int = 1) -> str:
    """The shell command that times one entry (signature) of `graph`, both paths on the phone.

    Raises:
        InputError: the tool can't reach the target's unit.
    """
    check_reach(target)
    flags = [f"--graph={graph}", f"--signature_to_run_for={entry}", f"--num_threads={threads}", f"--num_runs={RUNS}",
             f"--max_secs={MOST_SECONDS:g}", *target.benchmark_flags]
    return shlex.join([tool, *flags])


def measure_with_tool(device: Device, target: Target, tool: BenchmarkTool, artifact: Path,
                      workloads: Sequence[Workload], *, launches: int = LAUNCHES, seed: int = 0) -> list[Measurement]:
    """Latency of entries of `artifact`, in the order of `workloads`; no outputs, for the tool gives none.

    Raises:
        InputError: the target is not one that the tool can reach.
        VerificationError: nodes fell off the target's unit, or the file can't run.
        DeviceError: the phone failed, is not fit, or the tool's output was cut off.
    """
    transport, folder = device.transport, f"{DEVICE_FOLDER}/tools"
    remote_tool, remote_graph = f"{folder}/{tool.digest[:12]}", f"{folder}/{sha256_path(artifact)[:12]}{target.suffix}"
    commands = [command_line(remote_tool, remote_graph, target, work.call.entry) for work in workloads]
    _succeed(transport, f"mkdir -p {folder}")
    transport.push(tool.path, remote_tool, timeout_s=_PUSH_TIMEOUT_S)
    transport.push(artifact, remote_graph, timeout_s=_PUSH_TIMEOUT_S)
    order = [index for _ in range(launches) for index in range(len(workloads))]
    random.Random(seed).shuffle(order)
    taken: list[list[BenchmarkOutput]] = [[] for _ in workloads]
    before = conditions.wait_until_fit(transport)
    with conditions.steady(transport):
        for index in order:
            taken[index].append(_launch(transport, commands[index], target, workloads[index].call.entry))
    after = read_state(transport)
    return [_measurement(device, target, tool, work, outputs, before, after)
            for work, outputs in zip(workloads, taken, strict=True)]


def _launch(transport: Transport, command: str, target: Target, entry: str) -> BenchmarkOutput:
    answer = transport.shell(command, timeout_s=_LAUNCH_TIMEOUT_S)
    told = " | ".join(line for line in answer.output.splitlines() if "ERROR" in line or "WARN" in line)[-300:]
    if FALLBACK in answer.output:
        raise VerificationError(f"{entry} does not run on the {target.unit.upper()} of {target.device} alone: it fell "
                                f"back to the CPU ({told}); choose a CPU target, or heads without such operators")
    if answer.exit_code != 0:
        raise VerificationError(f"benchmark_model can't run {entry} on {transport.address} (code {answer.exit_code}): "
                                f"{told or answer.output.strip()[-200:]}")
    output = parse_output(answer.output)
    if output is None:
        raise DeviceError(f"benchmark_model's output for {entry} on {transport.address} was cut off: "
                          f"{answer.output.strip()[-200:] or 'it is empty'}; run it again")
    if target.unit != "cpu" and not output.complete:
        raise VerificationError(f"{entry} does not run on the {target.unit.upper()} of {target.device} alone: "
                                f"{output.delegate or 'no delegate'} took a part of the graph at most")
    return output


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
