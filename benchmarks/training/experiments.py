"""Open questions of the method, settled by training: schemes, distillation, alpha, temperature and heads, over seeds.

Run: python benchmarks/training/experiments.py --effort quick --data folder:PATH [--seeds 3] [--strides 16,8]
     [--at-once 2]
Interrupted, the same command goes on: every finished run is a file of results/, stage 1 is shared between runs that
begin alike, and a broken-off training resumes. The table is written again after every run.
"""

import argparse
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import msgspec
import torch
from outcomes import FIRST_POLICY, Chosen, Point, Result, table_of
from plans import EFFORTS, Effort, Run, runs

from device_profiler.abreast import abreast
from device_profiler.files import cache_folder, write_atomic
from pipeline.checkpoint import load_model
from pipeline.data import DataSource, load_source
from pipeline.evaluation import evaluate_policies
from pipeline.exact_search.evaluate import evaluate_configuration
from pipeline.exact_search.front import front
from pipeline.exact_search.objective import Objective
from pipeline.exact_search.solver import search
from pipeline.exit_statistics import ExitStatistics
from pipeline.latency_table import LatencyTable
from pipeline.model import MultiExitModel, count_model, design_model
from pipeline.policy_name import AGREEMENT, SHARE_GRID
from pipeline.progress import terminal_progress
from pipeline.training.run import VERSION, RunOptions, train, training_key

POLICIES = (
    FIRST_POLICY,
    *("median", "margin", "entropy", "quantile:0.1", "patch:0.01", "mean+edges", "share:0.9+edges"),
    *(f"share:{threshold:g}" for threshold in SHARE_GRID),
    AGREEMENT,
)
DROPS = (0.0, 0.01)
FORMS = (16, 8)
"""Output strides that the table tells of: the light form and the dilated one."""
MOST_SEEDS = 9


@dataclass(frozen=True, eq=False)
class Bench:
    """What all runs share."""

    effort: Effort
    source: DataSource
    policies: tuple[str, ...]
    results: Path

    def result_path(self, run: Run, seed: int) -> Path:
        """The file of a run; it holds for these data, this schedule and this version of training alone."""
        parts = (VERSION, self.effort, run, seed, self.source.fingerprint, self.policies)
        key = hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
        return self.results / self.effort.name / f"{key}.json"

    def result(self, run: Run, seed: int) -> Result:
        """Train and evaluate, or read what was found before, be it the same training by another name."""
        path = self.result_path(run, seed)
        if path.exists():
            return _read(path)
        result = self._by_another_name(run, seed) or self._made(run, seed)
        write_atomic(path, msgspec.json.encode(result))
        return result

    def _by_another_name(self, run: Run, seed: int) -> Result | None:
        for other in runs((run.output_stride,)):
            path = self.result_path(other, seed)
            same = replace(other, question=run.question, label=run.label) == run
            if same and path.exists():
                return msgspec.structs.replace(_read(path), question=run.question, label=run.label)
        return None

    def _made(self, run: Run, seed: int) -> Result:
        effort, source = self.effort, self.source
        spec = design_model(
            source.classes.names, source.size, backbone=effort.backbone, output_stride=run.output_stride,
            exits=effort.exits, heads=effort.heads,
        )
        schedule = run.schedule(effort, seed, spec)
        folder = cache_folder("experiments", training_key(spec, source.fingerprint, schedule))
        options = RunOptions(shared=cache_folder("experiments", "stage1"))
        model = load_model(train(spec, source, schedule, folder, terminal_progress(), options))
        pairs = list(zip(self.policies, *self._statistics(model), strict=True))
        _, choosing, telling = pairs[0]
        best = [_best_head(choosing, e) for e in range(len(spec.exits))]
        settings = [Settled(model, *pair) for pair in pairs]
        return Result(
            run.question, run.label, seed, choosing.miou(*choosing.reference), telling.miou(*telling.reference),
            settings[0].full_cost,
            tuple(telling.miou(e, h) for e, h in enumerate(best)),
            tuple(telling.heads[e][h] for e, h in enumerate(best)),
            tuple(chosen for settled in settings for chosen in settled.chosen()), tuple(settings[0].front()),
            torch.get_num_threads(), len(source.train), source.spec.partition(":")[0], source.size,
            (schedule.exit_dropout.steps, schedule.distillation.steps),
        )

    def _statistics(self, model: MultiExitModel) -> list[tuple[ExitStatistics, ...]]:
        """By policy, of the search split and of the test split."""
        ignore = self.source.classes.ignore
        return [
            evaluate_policies(model, split, terminal_progress(), ignore=ignore, policies=self.policies)
            for split in (self.source.search, self.source.test)
        ]


def _read(path: Path) -> Result:
    return msgspec.json.decode(path.read_bytes(), type=Result)


def _best_head(statistics: ExitStatistics, e: int) -> int:
    existing = [h for h, name in enumerate(statistics.heads[e]) if name]
    return max(existing, key=lambda h: statistics.miou(e, h))


class Settled:
    """What the search finds for one policy, by multiply-adds: chosen on one split, told on another."""

    def __init__(
        self, model: MultiExitModel, policy: str, choosing: ExitStatistics, telling: ExitStatistics
    ) -> None:
        self.policy, self.choosing, self.telling = policy, choosing, telling
        cost = count_model(model, policy)
        self.table = LatencyTable(
            "multiply-adds", "predicted", tuple(map(float, cost.blocks)), _slots(cost.judged()), unit="multiply-adds"
        )
        self.full_cost = float(cost.total(*telling.reference))

    def chosen(self) -> Iterator[Chosen]:
        """The cheapest within each drop; a budgeted one does not depend on the policy, so the first one tells it."""
        for setting in ("adaptive", "budgeted") if self.policy == FIRST_POLICY else ("adaptive",):
            for drop in DROPS:
                best = search(self.choosing, self.table, _asked(setting, drop)).candidate.configuration
                told = evaluate_configuration(self.telling, self.table, best)
                cheaper = self.full_cost / told.latency_ns
                yield Chosen(setting, self.policy, drop, best.exits, best.heads, told.miou, cheaper)

    def front(self) -> Iterator[Point]:
        """The Pareto fronts of the choosing split, told on the other."""
        for setting in ("budgeted", "adaptive"):
            for point in front(self.choosing, self.table, _asked(setting)).points:
                found = point.configuration
                told = evaluate_configuration(self.telling, self.table, found)
                yield Point(setting, found.exits, found.heads, point.miou, told.miou, told.latency_ns)


def _asked(setting: str, drop: float | None = None) -> Objective:
    return Objective(setting=setting, max_drop=drop, threshold_grid=16, unit="multiply-adds")


def _slots(heads: tuple[tuple[int, ...], ...]) -> tuple[tuple[float | None, ...], ...]:
    most = max(map(len, heads))
    return tuple((*map(float, row), *[None] * (most - len(row))) for row in heads)


def chains(bench: Bench, wanted: Sequence[Run], seeds: int) -> list[list[tuple[Run, int]]]:
    """What is not there yet: runs that begin alike one after the other, for the first one trains stage 1 for all."""
    found: dict[tuple[object, ...], list[tuple[Run, int]]] = {}
    for seed in range(seeds):
        for run in wanted:
            if not bench.result_path(run, seed).exists():
                beginning = (seed, run.output_stride, run.method.scheme, run.same_work)
                found.setdefault(beginning, []).append((run, seed))
    return list(found.values())


def train_apart(bench: Bench, chain: Sequence[tuple[Run, int]]) -> None:
    """Each run in a process of its own, on one thread: two such do more together than one on two threads.

    Raises:
        CalledProcessError: a run failed, and said why.
    """
    for run, seed in chain:
        words = [*sys.argv, "--result", bench.result_path(run, seed).stem]
        subprocess.run([sys.executable, *words], env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True)


def write_table(bench: Bench) -> str:
    """The table of every result that is there, whatever was asked for this time; also written beside them."""
    pairs = [(run, seed) for seed in range(MOST_SEEDS) for run in runs(FORMS)]
    table = table_of([bench.result(*pair) for pair in pairs if bench.result_path(*pair).exists()])
    height, width = bench.source.size
    data = bench.source.spec.partition(":")[0]
    title = f"# {bench.effort.name}: {data}, {width}x{height}\n"
    write_atomic(bench.results / f"{bench.effort.name}-{data}.md", title + table)
    return table


def main() -> None:
    """Every run of the plan, seed by seed, so that a broken-off plan has complete seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--effort", choices=EFFORTS, default="smoke")
    parser.add_argument("--data", default="sample", help="for efforts without data of their own (default: sample)")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--strides", default="16", help="output strides, as in 16,8 (default: 16)")
    parser.add_argument("--only", default="", help="only questions or labels that contain this")
    parser.add_argument("--at-once", type=int, default=1, help="trainings side by side, on one thread each (1)")
    parser.add_argument("--table", action="store_true", help="only the table of what is there: nothing is trained")
    parser.add_argument("--result", default="", help="only the run whose result has this name, and no table")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results", help="where results lie")
    arguments = parser.parse_args()
    effort = EFFORTS[arguments.effort]
    source = load_source(
        effort.data or arguments.data, size=effort.size, area=0, amounts=effort.amounts, progress=terminal_progress()
    )
    bench = Bench(effort, source, POLICIES, arguments.results)
    wanted = [
        run
        for run in runs(tuple(int(stride) for stride in arguments.strides.split(",")))
        if arguments.only in f"{run.question} {run.label}"
    ]
    pairs = [(run, seed) for seed in range(arguments.seeds) for run in wanted]
    if arguments.result:
        for run, seed in pairs:
            if bench.result_path(run, seed).stem == arguments.result:
                bench.result(run, seed)
        return
    if not arguments.table:
        if arguments.at_once > 1:
            abreast(partial(train_apart, bench), chains(bench, wanted, arguments.seeds), arguments.at_once)
        for run, seed in pairs:
            bench.result(run, seed)
            write_table(bench)
    print(write_table(bench))


if __name__ == "__main__":
    main()
