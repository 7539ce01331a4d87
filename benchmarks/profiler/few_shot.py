"""How well a few measured prefixes predict the others: error and coverage on networks left out.

Every network is predicted by a device model that was fitted to the other architectures' prefixes, and its intervals are
calibrated on the other networks. Beside it: the fitted device model alone, and multiply-adds scaled to the longest
prefix. The figures (results/prefixes.json) are of the emulated phone. Run: python benchmarks/profiler/few_shot.py
"""

import re
from pathlib import Path

import msgspec
import numpy as np
from measure_prefixes import RESULTS, MeasuredNetwork, PrefixFile

from device_profiler.few_shot import KnownNetwork, calibrate, choose_prefixes, predict_prefixes
from device_profiler.files import write_atomic
from device_profiler.fitting import FitPart, fit
from device_profiler.prediction import load_model, predict
from device_profiler.workload import Operator

OUT = Path(__file__).parent / "results" / "few_shot.json"
LEVEL = 0.8
MODEL = "tensor-g2-cpu"


class ShotsResult(msgspec.Struct, frozen=True):
    """One number of measured prefixes, over all networks; errors and widths as shares of the measured latency.

    `covered`: share of networks all of whose unmeasured prefixes lie in their intervals; `covered_prefixes`: share of
    such prefixes; `width`: median width of an interval; `*_error`: medians over unmeasured prefixes.
    """

    shots: int
    covered: float
    covered_prefixes: float
    width: float
    few_shot_error: float
    model_error: float
    macs_error: float


class Results(msgspec.Struct, frozen=True):
    """results/few_shot.json."""

    device: str
    provenance: str
    level: float
    networks: int
    prefixes: int
    fit_error_left_out: float
    shots: tuple[ShotsResult, ...]


def programs(network: MeasuredNetwork) -> list[tuple[Operator, ...]]:
    """The operators of each prefix."""
    return [sum((p.further_operators for p in network.prefixes[: n + 1]), ()) for n in range(len(network.prefixes))]


def family(network: MeasuredNetwork) -> str:
    """The architecture without its width: mobilenet_v2_0.5 is of the family of mobilenet_v2."""
    return re.sub(r"_\d+\.\d+$", "", network.name)


def known(networks: tuple[MeasuredNetwork, ...]) -> list[KnownNetwork]:
    """Every network as predicted by a model that never saw its family."""
    parts = {n: [FitPart(o, p.ns, family(n)) for o, p in zip(programs(n), n.prefixes, strict=True)] for n in networks}
    found = []
    for network in networks:
        others = [part for other, own in parts.items() if family(other) != family(network) for part in own]
        model, _ = fit(load_model(MODEL), others, "here")
        predicted = tuple(predict(part.operators, model).total_ns for part in parts[network])
        found.append(KnownNetwork(predicted, tuple(part.measured_ns for part in parts[network])))
    return found


def evaluate(found: list[KnownNetwork], macs: list[list[float]], shots: int) -> ShotsResult:
    """Each network from `shots` of its prefixes, calibrated on all others."""
    inside, widths, errors, alone, by_macs = [], [], [], [], []
    for index, network in enumerate(found):
        calibration = calibrate(found[:index] + found[index + 1 :], shots, LEVEL)
        chosen = choose_prefixes(network.predicted, shots)
        estimates = predict_prefixes(network.predicted, {i: network.measured[i] for i in chosen}, calibration)
        rest = [i for i in range(len(estimates)) if i not in chosen]
        true = np.array([network.measured[i] for i in rest])
        inside.append([estimates[i].low_ns <= network.measured[i] <= estimates[i].high_ns for i in rest])
        widths += [(estimates[i].high_ns - estimates[i].low_ns) / network.measured[i] for i in rest]
        errors += list(np.abs([estimates[i].ns for i in rest] / true - 1))
        alone += list(np.abs([network.predicted[i] for i in rest] / true - 1))
        scaled = np.array([macs[index][i] for i in rest]) / macs[index][-1] * network.measured[-1]
        by_macs += list(np.abs(scaled / true - 1))
    median = [float(np.median(values)) for values in (widths, errors, alone, by_macs)]
    covered, covered_prefixes = float(np.mean([all(one) for one in inside])), float(np.mean(np.concatenate(inside)))
    return ShotsResult(shots, covered, covered_prefixes, *median)


def main() -> None:
    """Evaluate, print, write."""
    file = msgspec.json.decode(RESULTS.read_bytes(), type=PrefixFile)
    found = known(file.networks)
    macs = [[float(sum(o.macs for o in program)) for program in programs(n)] for n in file.networks]
    everything = [
        FitPart(operators, prefix.ns, family(network))
        for network in file.networks
        for operators, prefix in zip(programs(network), network.prefixes, strict=True)
    ]
    _, report = fit(load_model(MODEL), everything, "here")
    rows = tuple(evaluate(found, macs, shots) for shots in (1, 2, 3))
    results = Results(file.device, file.provenance, LEVEL, len(found), len(everything), report.median_error, rows)
    write_atomic(OUT, msgspec.json.format(msgspec.json.encode(results), indent=1))
    print(msgspec.json.format(msgspec.json.encode(results), indent=1).decode())


if __name__ == "__main__":
    main()
