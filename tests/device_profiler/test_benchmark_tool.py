"""benchmark_model on the emulated phone: a stand-in prints what the real one prints, and fails as it can fail."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from device_profiler import benchmark_tool
from device_profiler.benchmark_tool import command_line, find_tool, measure_with_tool, tool_protocol
from device_profiler.device import Device, identify
from device_profiler.errors import DeviceError, InputError, VerificationError
from device_profiler.store import Store
from device_profiler.targets import find_target
from device_profiler.transport import DeviceTimeoutError, Transport
from device_profiler.workload import Call, Workload

NPU = find_target("pixel7-npu")
GOLDEN = Path(__file__).parents[1] / "golden" / "benchmark_model"
WORKLOADS = [Workload(f"key {name}", Call(name, (np.zeros(1),)), ()) for name in ("block_0", "head_0")]
STAND_IN = """#!/system/bin/sh
# Prints what benchmark_model prints; head_0 takes 1 ms less. Refuses flags and files as the real one would.
entry= graph= flags=" $* "
for word in "$@"; do
  case $word in --signature_to_run_for=*) entry=${word#*=} ;; --graph=*) graph=${word#*=} ;; esac
done
[ -r "$graph" ] || { echo "ERROR: Failed to load model $graph"; exit 1; }
wanted=" --use_nnapi=true --nnapi_accelerator_name=google-edgetpu --require_full_delegation=true "
typical=2225
[ "$entry" = head_0 ] && typical=1225
counter=/sys/class/edgetpu/edgetpu-soc/device/inference_count
case $flags in
  *"$wanted"*) [ -w $counter ] && { read -r a b < $counter; echo "$a $((b + COUNTED))" > $counter; } ;;
  *" --use_nnapi=false --use_gpu=false --use_xnnpack=true "*) typical=$((typical * CONTROL)) ;;
  *) exit 2 ;;
esac
sed "s/median=2225/median=$typical/" <<'END'
OUTPUT
END
"""


@pytest.fixture
def device(transport: Transport) -> Device:
    return Device(transport, identify(transport))


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    path = tmp_path / "parts.tflite"
    path.write_bytes(b"a graph")
    return path


def stand_in(folder: Path, script: str) -> Path:
    path = folder / "benchmark_model"
    path.write_text(script)
    path.chmod(0o755)
    return path


def working(counted: int = 668, control: int = 4) -> str:
    """One that works: `counted` by the phone's counter of inferences a launch (668 run), `control` times as slow on
    the CPU."""
    text = STAND_IN.replace("COUNTED", str(counted)).replace("CONTROL", str(control))
    return text.replace("OUTPUT\n", (GOLDEN / "nnapi.txt").read_text())


@pytest.fixture
def counter(device: Device) -> Iterator[None]:
    """The phone has a counter of inferences, of two cores, as a Pixel's TPU has."""
    folder = "/sys/class/edgetpu/edgetpu-soc/device"
    device.transport.shell(f"mkdir -p {folder} && echo 7 100 > {folder}/inference_count")
    yield
    device.transport.shell("rm -rf /sys/class/edgetpu")


def printing(golden: str, then: str) -> str:
    return f"#!/system/bin/sh\ncat <<'END'\n{(GOLDEN / f'{golden}.txt').read_text()}END\n{then}\n"


def test_every_entry_gets_its_figure(device: Device, graph: Path, tmp_path: Path) -> None:
    tool = find_tool(stand_in(tmp_path, working()))
    block, head = measure_with_tool(device, NPU, tool, graph, WORKLOADS, launches=2)
    assert (block.samples_ns, head.samples_ns) == ((2_225_000,) * 2, (1_225_000,) * 2)
    assert (block.key, block.entry, block.requested_unit, block.actual_unit) == ("key block_0", "block_0", "npu", "npu")
    assert (block.load_ns, block.first_ns, block.provenance) == (93_252_000, 4_021_000, "emulated")
    assert "median of one launch" in block.note and "NNAPI" in block.note
    assert block.verdict is not None and str(block.verdict) == "PLAUSIBLE (emulated npu)"
    with Store(tmp_path / "store.sqlite") as store:
        store.add_all([block, head])
        kept = store.get("key head_0", device.identity.fingerprint, NPU.name, tool_protocol(tool))
    assert kept == head


@pytest.mark.usefixtures("counter")
def test_a_counter_that_grows_with_the_runs_proves_the_unit(device: Device, graph: Path, tmp_path: Path) -> None:
    tool = find_tool(stand_in(tmp_path, working()))
    (block,) = measure_with_tool(device, NPU, tool, graph, WORKLOADS[:1], launches=2)
    assert block.verdict is not None and (block.verdict.kind, block.verdict.emulated) == ("PROVEN", True)
    assert "the counter of inferences grew by 1336, exactly the runs" in block.verdict.reasons
    assert any("the phone is emulated" in reason for reason in block.verdict.reasons)


@pytest.mark.usefixtures("counter")
def test_a_silent_fallback_is_refused_and_kept_only_under_the_cpus_name(
    device: Device, graph: Path, tmp_path: Path
) -> None:
    tool = find_tool(stand_in(tmp_path, working(counted=0, control=1)))
    with pytest.raises(VerificationError, match=r"block_0 did not run on the NPU: .*grew by 0, there were 668 runs"):
        measure_with_tool(device, NPU, tool, graph, WORKLOADS[:1], launches=1)
    lenient = working(counted=0, control=1).replace(" --require_full_delegation=true", "")
    (block,) = measure_with_tool(
        device, NPU, find_tool(stand_in(tmp_path, lenient)), graph, WORKLOADS[:1], launches=1, allow_fallback=True
    )
    assert (block.requested_unit, block.actual_unit) == ("npu", "cpu")
    assert block.verdict is not None and block.verdict.kind == "REFUTED"
    assert any("not distinct" in reason for reason in block.verdict.reasons)


@pytest.mark.parametrize(
    ("script", "error", "told"),
    [
        (printing("nnapi_fallback", "exit 1"), VerificationError, "fell back to the CPU.*choose a CPU target"),
        (printing("nnapi_absent", "exit 1"), VerificationError, "NNAPI acceleration is unsupported"),
        (printing("partial", "exit 0"), VerificationError, "NNAPI took a part of the graph at most"),
        (printing("old", "exit 0"), VerificationError, "no delegate took a part"),
        (printing("signature_unknown", "exit 1"), VerificationError, "Signature not specified or incorrect"),
        ("#!/system/bin/sh\nkill -SEGV $$\n", VerificationError, r"can't run block_0 .*code 139"),
        ("#!/system/bin/sh\nexit 0\n", DeviceError, "cut off: it is empty"),
        (printing("nnapi", "exit 0").split("Inference timings")[0] + "\nEND\nexit 0\n", DeviceError, "was cut off"),
        ("#!/system/bin/sh\nsleep 60\n", DeviceTimeoutError, "within 3 s"),
    ],
)
def test_what_fails_is_told_and_gives_no_figure(
    device: Device, graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    script: str, error: type[Exception], told: str,
) -> None:
    monkeypatch.setattr(benchmark_tool, "_LAUNCH_TIMEOUT_S", 3.0 if "sleep" in script else 60.0)
    with pytest.raises(error, match=told):
        measure_with_tool(device, NPU, find_tool(stand_in(tmp_path, script)), graph, WORKLOADS[:1], launches=1)


def test_a_tool_that_can_not_be_run_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing is no file; give LiteRT's benchmark_model"):
        find_tool(tmp_path / "nothing")
    path = stand_in(tmp_path, "#!/bin/sh\n")
    path.chmod(0o644)
    with pytest.raises(InputError, match=r"is not executable; .*chmod \+x"):
        find_tool(path)
    host = Path(shutil.which("true") or "/bin/true")
    if host.read_bytes()[18:20] != b"\xb7\x00":
        with pytest.raises(InputError, match=r"is built for x86-64, phones are arm64"):
            find_tool(host)


def test_only_the_flags_of_the_target_reach_its_unit() -> None:
    line = command_line("/t/tool", "/t/a graph", NPU, "block_0")
    assert line.startswith("/t/tool '--graph=/t/a graph' --signature_to_run_for=block_0 --num_threads=1 ")
    assert line.endswith("--use_nnapi=true --nnapi_accelerator_name=google-edgetpu --require_full_delegation=true")
    with pytest.raises(InputError, match=r"does not reach target pixel7-cpu.* choose one of .*pixel7-npu"):
        command_line("/t/tool", "/t/graph", find_target("pixel7-cpu"), "block_0")
