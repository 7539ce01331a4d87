"""Open questions of the method, settled by training: schemes, distillation, alpha, temperature and heads, over seeds.

Run: python benchmarks/training/experiments.py --effort quick --data folder:PATH [--seeds 3] [--strides 16,8]
Interrupted, the same command goes on: every finished run is a file of results/, stage 1 is shared between runs that
begin alike, and a broken-off training resumes. The table is written again after every run.
"""

import argparse
import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch
from plans import EFFORTS, Effort, Run, runs

from device_profiler.files import cache_folder, write_atomic
from pipeline.checkpoint import load_model
from pipeline.data import DataSource, load_source
from pipeline.evaluation import AGREEMENT, evaluate_policies
from pipeline.exact_search.evaluate import evaluate_configuration
from pipeline.exact_search.objective import Objective
from pipeline.exact_search.solver import search
from pipeline.exit_statistics import ExitStatistics
from pipeline.latency_table import LatencyTable
from pipeline.model import MultiExitModel, count_model, design_model
from pipeline.policy import SHARE_GRID
from pipeline.progress import terminal_progress
from pipeline.training.run import RunOptions, train, training_key

POLICIES = (
    *("mean", "median", "margin", "entropy", "quantile:0.1", "patch:0.01", "mean+edges", "share:0.9+edges"),
    *(f"share:{threshold:g}" for threshold in SHARE_GRID),
    AGREEMENT,
)
DROPS = (0.0, 0.01)


class Chosen(msgspec.Struct, frozen=True):
    """The cheapest configuration within a drop of mIoU, found on the search split, told on the test split."""

    setting: str
    policy: str
    drop: float
    exits: tuple[int, ...]
    heads: tuple[str, ...]
    miou: float
    times_cheaper: float

    def answers(self, policy: str) -> bool:
        """Whether this is the adaptive configuration of a policy at most 1 pp below the full network."""
        return (self.setting, self.policy, self.drop) == ("adaptive", policy, 0.01)


class Result(msgspec.Struct, frozen=True):
    """One run: mIoU of the best head at every exit (chosen on the search split, told on the test split)."""

    question: str
    label: str
    seed: int
    full_miou: float
    exits_miou: tuple[float, ...]
    exits_heads: tuple[str, ...]
    chosen: tuple[Chosen, ...]
    cpu_seconds: float
    threads: int
    images: int
    data: str
    size: tuple[int, int]
    steps: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Bench:
    """What all runs share."""

    effort: Effort
    source: DataSource
    policies: tuple[str, ...]
    results: Path

    def result_path(self, run: Run, seed: int) -> Path:
        """The file of a run; it holds for these data and this schedule alone."""
        parts = (self.effort, run, seed, self.source.fingerprint, self.policies)
        key = hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
        return self.results / self.effort.name / f"{key}.json"

    def result(self, run: Run, seed: int) -> Result:
        """Train and evaluate, or read what was found before."""
        path = self.result_path(run, seed)
        if path.exists():
            return msgspec.json.decode(path.read_bytes(), type=Result)
        result = self._made(run, seed)
        write_atomic(path, msgspec.json.format(msgspec.json.encode(result)))
        return result

    def _made(self, run: Run, seed: int) -> Result:
        started, effort, source = time.process_time(), self.effort, self.source
        spec = design_model(
            source.classes.names, source.size, backbone=effort.backbone, output_stride=run.output_stride,
            exits=effort.exits, heads=effort.heads,
        )
        schedule = run.schedule(effort, seed)
        folder = cache_folder("experiments", training_key(spec, source.fingerprint, schedule))
        options = RunOptions(shared=cache_folder("experiments", "stage1"))
        model = load_model(train(spec, source, schedule, folder, terminal_progress(), options))
        spent = time.process_time() - started
        pairs = list(zip(self.policies, *self._statistics(model), strict=True))
        _, choosing, telling = pairs[0]
        best = [_best_head(choosing, e) for e in range(len(spec.exits))]
        return Result(
            run.question, run.label, seed, telling.miou(*telling.reference),
            tuple(telling.miou(e, h) for e, h in enumerate(best)),
            tuple(telling.heads[e][h] for e, h in enumerate(best)),
            tuple(chosen for pair in pairs for chosen in _choices(model, *pair)),
            spent, torch.get_num_threads(), len(source.train), source.spec.partition(":")[0], source.size, effort.steps,
        )

    def _statistics(self, model: MultiExitModel) -> list[tuple[ExitStatistics, ...]]:
        """By policy, of the search split and of the test split."""
        ignore = self.source.classes.ignore
        return [
            evaluate_policies(model, split, terminal_progress(), ignore=ignore, policies=self.policies)
            for split in (self.source.search, self.source.test)
        ]


def _best_head(statistics: ExitStatistics, e: int) -> int:
    existing = [h for h, name in enumerate(statistics.heads[e]) if name]
    return max(existing, key=lambda h: statistics.miou(e, h))


def _choices(
    model: MultiExitModel, policy: str, choosing: ExitStatistics, telling: ExitStatistics
) -> list[Chosen]:
    """The cheapest configurations by multiply-adds; a budgeted one does not depend on the policy."""
    cost = count_model(model)
    table = LatencyTable(
        "multiply-adds", "predicted", tuple(map(float, cost.blocks)), _slots(cost.heads), unit="multiply-adds"
    )
    full = cost.total(*telling.reference)
    settings = ("adaptive", "budgeted") if policy == POLICIES[0] else ("adaptive",)
    found = []
    for setting in settings:
        for drop in DROPS:
            asked = Objective(setting=setting, max_drop=drop, threshold_grid=16, unit="multiply-adds")
            best = search(choosing, table, asked).candidate.configuration
            told = evaluate_configuration(telling, table, best)
            found.append(Chosen(setting, policy, drop, best.exits, best.heads, told.miou, full / told.latency_ns))
    return found


def _slots(heads: tuple[tuple[int, ...], ...]) -> tuple[tuple[float | None, ...], ...]:
    most = max(map(len, heads))
    return tuple((*map(float, row), *[None] * (most - len(row))) for row in heads)


def table_of(results: list[Result]) -> str:
    """Markdown: per question, mean and standard deviation over the seeds of every figure, in points of mIoU."""
    lines = []
    for question in dict.fromkeys(result.question for result in results):
        rows = [result for result in results if result.question == question]
        exits = len(rows[0].exits_miou)
        lines += [
            f"\n### {question}\n",
            f"| | seeds | {' | '.join(f'exit{e + 1}' for e in range(exits))} | full network "
            "| adaptive, at most 1 pp lower | cheaper | CPU s |",
            "|" + "---|" * (exits + 6),
        ]
        for label in dict.fromkeys(row.label for row in rows):
            lines.append(_row(label, [row for row in rows if row.label == label]))
    return "\n".join(lines) + "\n\n" + policy_table(results)


def _row(label: str, of_label: list[Result]) -> str:
    mious = np.array([row.exits_miou for row in of_label]) * 100
    chosen = [c for row in of_label for c in row.chosen if c.answers(POLICIES[0])]
    cells = [
        label, str(len(of_label)), *[_spread(column) for column in mious.T],
        _spread([100 * row.full_miou for row in of_label]), _spread([100 * c.miou for c in chosen]),
        _spread([c.times_cheaper for c in chosen], "x"), _spread([row.cpu_seconds for row in of_label]),
    ]
    return f"| {' | '.join(cells)} |"


def policy_table(results: list[Result]) -> str:
    """Markdown: every exit policy over all runs: mIoU lost on the test split, and how much cheaper."""
    lines = ["### exit policies, all runs\n", "| policy | runs | lost, pp | cheaper |", "|---|---|---|---|"]
    for policy in dict.fromkeys(c.policy for result in results for c in result.chosen):
        rows = [(r, c) for r in results for c in r.chosen if c.answers(policy)]
        lost = _spread([100 * (r.full_miou - c.miou) for r, c in rows])
        lines.append(f"| {policy} | {len(rows)} | {lost} | {_spread([c.times_cheaper for _, c in rows], 'x')} |")
    return "\n".join(lines) + "\n"


def _spread(values: object, unit: str = "") -> str:
    """Mean and, over several seeds, the standard deviation."""
    array = np.asarray(values, np.float64)
    deviation = f" ± {array.std(ddof=1):.2f}" if len(array) > 1 else ""
    return f"{array.mean():.2f}{unit}{deviation}"


def main() -> None:
    """Every run of the plan, seed by seed, so that a broken-off plan has complete seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--effort", choices=EFFORTS, default="smoke")
    parser.add_argument("--data", default="sample", help="for efforts without data of their own (default: sample)")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--strides", default="16", help="output strides, as in 16,8 (default: 16)")
    parser.add_argument("--only", default="", help="only questions or labels that contain this")
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
    results: list[Result] = []
    for seed in range(arguments.seeds):
        for run in wanted:
            results.append(bench.result(run, seed))
            title = f"# {effort.name}: {source.spec.partition(':')[0]}, {source.size[1]}x{source.size[0]}\n"
            write_atomic(arguments.results / f"{effort.name}.md", title + table_of(results))
    print(table_of(results))


if __name__ == "__main__":
    main()
