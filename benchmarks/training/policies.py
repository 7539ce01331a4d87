"""Exit policies on trained networks: how well each tells the images that may leave early, and what it costs a phone.

Run: python benchmarks/training/policies.py --data folder:PATH --checkpoint RUN/checkpoint [--checkpoint ...]
Writes results/policies.json and results/policies.md. Latency is of the emulated phone's CPU, in fp32.

Telling is measured without a threshold: the images leave one exit in the order of their confidence there, and the rest
is answered by the full network; the mIoU of the mixture, averaged over every number of images that leave, is compared
with leaving in random order (0) and in the order of what leaving costs each image (1).
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
from experiments import POLICIES
from numpy.typing import NDArray
from outcomes import FIRST_POLICY
from plans import EFFORTS

from device_profiler.device import open_device
from device_profiler.files import write_atomic
from device_profiler.protocol import measure_calls, protocol_version
from device_profiler.targets import find_target
from device_profiler.workload import Call, Workload
from mobile_export.export_worker import export_in_worker
from mobile_export.program import Program
from pipeline.checkpoint import load_model, open_checkpoint
from pipeline.data import DataSource, load_source
from pipeline.evaluation import evaluate_policies
from pipeline.exit_statistics import ExitStatistics, mean_iou
from pipeline.model import MultiExitModel
from pipeline.partition import Partition
from pipeline.progress import terminal_progress

RESULTS = Path(__file__).parent / "results"
MEASURED = ("margin-median", "margin-quantile:0.1", "entropy-median", "entropy-quantile:0.1")
WINDOWS = ("mean+edges:1", "mean+edges:3", "mean+edges:4", "share:0.9+edges:1", "share:0.9+edges:3")
TARGET = "pixel7-cpu"
SHUFFLES = 200


class Told(msgspec.Struct, frozen=True):
    """How well a policy tells the images at one exit of one checkpoint: points of mIoU above random order."""

    policy: str
    checkpoint: str
    exit: str
    head: str
    gain: float
    best_gain: float


class Cost(msgspec.Struct, frozen=True):
    """Median latency in ns of one head of the first checkpoint's second exit with a policy behind it."""

    policy: str
    ns: float


class Record(msgspec.Struct, frozen=True):
    """results/policies.json. `network_ns`: the first checkpoint's full network; `images`: those of the test split."""

    data: str
    images: int
    device: str
    provenance: str
    protocol: str
    network_ns: float
    costs: tuple[Cost, ...]
    told: tuple[Told, ...]


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--checkpoint", type=Path, action="append", required=True, help="its folder; repeatable")
    arguments = parser.parse_args()
    policies = (*POLICIES, *MEASURED, *WINDOWS)
    models = {path: load_model(open_checkpoint(path)) for path in arguments.checkpoint}
    told: list[Told] = []
    for path, model in models.items():
        source = load_source(arguments.data, size=model.spec.size, area=0, amounts=EFFORTS["quick"].amounts,
                             progress=terminal_progress())
        told += telling(model, source, policies, path.name[:8])
    record = costs(next(iter(models.values())), source, policies, tuple(told))
    write_atomic(RESULTS / "policies.json", msgspec.json.format(msgspec.json.encode(record), indent=0))
    text = table(record)
    write_atomic(RESULTS / "policies.md", text)
    print(text)


def telling(model: MultiExitModel, source: DataSource, policies: Sequence[str], name: str) -> Iterator[Told]:
    """Every policy at every early exit, by the head that is best on the search split."""
    splits = [
        evaluate_policies(model, split, terminal_progress(), ignore=source.classes.ignore, policies=policies)
        for split in (source.search, source.test)
    ]
    searched, tested = splits[0][0], splits[1][0]
    for e in range(model.spec.reference[0]):
        h = max(range(len(model.spec.heads[e])), key=lambda head: searched.miou(e, head))
        routes = Routes(tested, e, h)
        for policy, statistics in zip(policies, splits[1], strict=True):
            gain = routes.gain(statistics.confidence[e, h])
            yield Told(policy, name, tested.exits[e], tested.heads[e][h], gain, routes.gain(-routes.loss))


class Routes:
    """One exit and the full network behind it: mIoU of every number of images that leave, in some order."""

    def __init__(self, statistics: ExitStatistics, e: int, h: int) -> None:
        here, last = (statistics.intersection[e, h], statistics.union[e, h]), statistics.reference
        there = statistics.intersection[last], statistics.union[last]
        self._there = there[0].sum(axis=0), there[1].sum(axis=0)
        self._moved = here[0] - there[0], here[1] - there[1]
        self.loss = -self._moved[0].sum(axis=1).astype(float)
        generator = np.random.default_rng(0)
        self._random = float(np.mean([self._area(generator.permutation(len(self.loss))) for _ in range(SHUFFLES)]))

    def gain(self, confidence: NDArray[np.floating]) -> float:
        """Points of mIoU above random order, where the most confident leave first."""
        return 100 * (self._area(np.argsort(-confidence, kind="stable")) - self._random)

    def _area(self, order: NDArray[np.int64]) -> float:
        sums = [there + moved[order].cumsum(axis=0) for there, moved in zip(self._there, self._moved, strict=True)]
        return float(np.mean([mean_iou(*both) for both in zip(*sums, strict=True)]))


def costs(model: MultiExitModel, source: DataSource, policies: Sequence[str], told: tuple[Told, ...]) -> Record:
    """Latency on the emulated phone of the second exit's head with every policy, and of the full network.

    The second exit is the first that has a witness.
    """
    target = find_target(TARGET)
    name = next(row.head for row in told if row.exit == model.spec.exit_names[1])
    heads = [Partition(model, policy).head(1, name) for policy in policies]
    programs = [replace(head, name=f"policy_{n}") for n, head in enumerate(heads)]
    programs.append(Partition(model, policies[0]).prefix(model.spec.reference[0], model.spec.reference_head))
    with tempfile.TemporaryDirectory() as folder, open_device("emulated", target) as device:
        file = Path(folder) / "policies.pte"
        artifact = export_in_worker(target.runtime, programs, file, precision="fp32")
        works = [
            Workload(program.name, Call(program.name, drawn(program)), artifact.entry(program.name).operators)
            for program in programs
        ]
        *ns, network = [taken.measurement.median_ns for taken in measure_calls(device, target, file, works)]
        return Record(
            source.spec.partition(":")[0], len(source.test), device.identity.fingerprint, device.provenance,
            protocol_version(target), network, tuple(map(Cost, policies, ns)), told,
        )


def drawn(program: Program) -> tuple[NDArray[np.float32], ...]:
    """Random inputs of a program."""
    generator = np.random.default_rng(0)
    return tuple(generator.standard_normal(spec.shape, np.float32) for spec in program.inputs)


def table(record: Record) -> str:
    """Markdown: every policy, what it tells (mean and deviation over checkpoints and exits), what it adds to a head."""
    base = {cost.policy: cost.ns for cost in record.costs}
    lines = [
        f"# exit policies: {record.data}, {record.images} test images, "
        f"{len({told.checkpoint for told in record.told})} checkpoints\n",
        f"Latency: {record.provenance}, {record.device}. Full network {record.network_ns / 1e6:.2f} ms.\n",
        "| policy | above random order, pp | of the best order | head with it, ms | beyond `mean`, of the network |",
        "|---|---|---|---|---|",
    ]
    for policy in dict.fromkeys(told.policy for told in record.told):
        rows = [told for told in record.told if told.policy == policy]
        gains = np.array([told.gain for told in rows])
        share = gains.sum() / sum(told.best_gain for told in rows)
        ns = base[policy]
        spent = f"{ns / 1e6:.3f} | {(ns - base[FIRST_POLICY]) / record.network_ns:+.2%}"
        lines.append(f"| {policy} | {gains.mean():.2f} ± {gains.std():.2f} | {share:.0%} | {spent} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
