"""The exact search against Optuna (TPE, NSGA-II), pymoo (NSGA-II) and random sampling: same tables, same evaluator.

Most accurate within a latency; adaptive, a threshold grid. Every peer chooses an exit set, a head at each exit and a
threshold interval at each but the last. Run: python benchmarks/search/peers.py [--seconds 60], and for the space of all
six exits: ... --max-exits 6 --head-cost 0.1 --output benchmarks/search/results/peers_all_exits.json.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np
from tables import random_tables, with_head_cost

from pipeline.exact_search.configuration import LATENCY_TOLERANCE, SearchResult
from pipeline.exact_search.objective import Objective
from pipeline.exact_search.solver import search
from pipeline.exact_search.space import SearchSpace, build_space

Summary = dict[str, float | int | None]

EXITS, HEADS, IMAGES, CLASSES, GRID, LATENCY_NS = 6, 56, 500, 21, 16, 12e6
WITHIN = 0.001  # 0.1 pp
PENALTY = 1.0  # mIoU per relative excess of latency, for peers that know one objective only


@dataclass
class Evaluator:
    """Counts evaluations and remembers the best feasible mIoU over time."""

    space: SearchSpace
    latency: float
    stop: float  # time.monotonic()
    started: float = field(default_factory=time.monotonic)
    count: int = 0
    best: float = -1.0
    steps: list[tuple[float, int, float]] = field(default_factory=list)  # seconds, evaluations, best mIoU

    def __call__(self, exits: tuple[int, ...], heads: list[int], levels: list[int]) -> tuple[float, float]:
        """mIoU and latency of one configuration."""
        space, self.count = self.space, self.count + 1
        chosen = [space.by_exit[e][h] for e, h in zip(exits, heads, strict=False)]
        route = np.full(space.images, len(chosen) - 1)
        for n in reversed(range(len(chosen) - 1)):
            route[space.rank[chosen[n]] > levels[n]] = n
        sums = space.packed[np.array(chosen)[route], np.arange(space.images)].sum(axis=0, dtype=np.int64)
        union = sums[space.lanes : space.lanes + space.classes]
        miou = float(np.mean(sums[: space.classes][union > 0] / union[union > 0]))
        latency = float(np.dot(np.bincount(route, minlength=len(chosen)), space.route_costs(tuple(chosen))))
        latency /= space.images
        if latency <= self.latency + LATENCY_TOLERANCE and miou > self.best:
            self.best = miou
            self.steps.append((time.monotonic() - self.started, self.count, miou))
        return miou, latency

    def penalised(self, *choice: object) -> float:
        """mIoU, less a penalty for latency over the bound."""
        miou, latency = self(*choice)  # type: ignore[arg-type]
        return miou - PENALTY * max(0.0, latency / self.latency - 1)

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.stop


@dataclass(frozen=True)
class Choices:
    """What every peer chooses from: exit sets of up to `largest` exits, heads an exit, threshold intervals a head."""

    sets: list[tuple[int, ...]]
    largest: int
    heads: int
    grid: int


def exit_sets(exits: int, largest: int) -> list[tuple[int, ...]]:
    """Every choice of up to `largest` exits."""
    return [chosen for count in range(1, largest + 1) for chosen in combinations(range(exits), count)]


def run_random(evaluate: Evaluator, choices: Choices, seed: int) -> None:
    generator = np.random.default_rng(seed)
    while not evaluate.over:
        chosen = choices.sets[generator.integers(len(choices.sets))]
        heads = list(generator.integers(0, choices.heads, choices.largest))
        evaluate(chosen, heads, list(generator.integers(0, choices.grid, choices.largest - 1)))


def run_optuna(evaluate: Evaluator, choices: Choices, seed: int, *, nsga: bool) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def objective(trial: optuna.Trial) -> float | tuple[float, float]:
        chosen = choices.sets[trial.suggest_categorical("exits", list(range(len(choices.sets))))]
        heads_at = [trial.suggest_int(f"head{n}", 0, choices.heads - 1) for n in range(choices.largest)]
        levels = [trial.suggest_int(f"threshold{n}", 0, choices.grid - 1) for n in range(choices.largest - 1)]
        return evaluate(chosen, heads_at, levels) if nsga else evaluate.penalised(chosen, heads_at, levels)

    if nsga:
        sampler = optuna.samplers.NSGAIISampler(seed=seed)
        study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    else:
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(objective, timeout=max(0.01, evaluate.stop - time.monotonic()))


def run_pymoo(evaluate: Evaluator, choices: Choices, seed: int) -> None:
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.problem import ElementwiseProblem
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling
    from pymoo.optimize import minimize

    class Choice(ElementwiseProblem):  # type: ignore[misc]
        def __init__(self) -> None:
            largest = choices.largest
            upper = [len(choices.sets) - 1, *[choices.heads - 1] * largest, *[choices.grid - 1] * (largest - 1)]
            super().__init__(n_var=2 * largest, n_obj=2, n_ieq_constr=1, xl=0, xu=np.array(upper), vtype=int)

        def _evaluate(self, x: np.ndarray, out: dict[str, object], *_: object, **__: object) -> None:
            heads, levels = x[1 : 1 + choices.largest], x[1 + choices.largest :]
            miou, latency = evaluate(choices.sets[int(x[0])], [int(v) for v in heads], [int(v) for v in levels])
            out["F"], out["G"] = [-miou, latency], [latency / evaluate.latency - 1]

    crossover = SBX(prob=0.9, eta=3.0, vtype=float, repair=RoundingRepair())
    mutation = PM(eta=3.0, vtype=float, repair=RoundingRepair())
    algorithm = NSGA2(pop_size=100, sampling=IntegerRandomSampling(), crossover=crossover, mutation=mutation)
    seconds = max(1.0, evaluate.stop - time.monotonic())
    minimize(
        Choice(),
        algorithm,
        ("time", f"{int(seconds // 3600):02d}:{int(seconds % 3600 // 60):02d}:{int(seconds % 60):02d}"),
        seed=seed,
    )


def summary(evaluate: Evaluator, optimum: float, exact_seconds: float) -> Summary:
    """When the peer came within 0.1 pp, and what it lacked when the exact search was done and at the end."""
    close = next(((s, n) for s, n, miou in evaluate.steps if miou >= optimum - WITHIN), (None, None))
    early = max((miou for s, _, miou in evaluate.steps if s <= exact_seconds), default=0.0)
    return {
        "seconds_to_within_0.1pp": close[0],
        "evaluations_to_within_0.1pp": close[1],
        "gap_pp_after_exact_time": 100 * (optimum - early),
        "gap_pp_at_end": 100 * (optimum - evaluate.best),
        "evaluations": evaluate.count,
    }


def peers_of(choices: Choices) -> dict[str, Callable[[Evaluator, int], None]]:
    """By name, what searches with an evaluator and a seed."""
    return {
        "random": lambda e, seed: run_random(e, choices, seed),
        "optuna-tpe": lambda e, seed: run_optuna(e, choices, seed, nsga=False),
        "optuna-nsga2": lambda e, seed: run_optuna(e, choices, seed, nsga=True),
        "pymoo-nsga2": lambda e, seed: run_pymoo(e, choices, seed),
    }


def content_of(
    options: argparse.Namespace, exact: SearchResult, results: dict[str, list[Summary]]
) -> dict[str, object]:
    """What the result file holds."""
    return {
        "problem": {
            "exits": EXITS,
            "heads": HEADS,
            "images": IMAGES,
            "classes": CLASSES,
            "grid": GRID,
            "latency_ns": LATENCY_NS,
            "max_exits": options.max_exits,
            "head_cost": options.head_cost,
        },
        "exact": {k: getattr(exact, k) for k in ("miou", "latency_ns", "optimal", "configurations", "seconds")},
        "configurations_per_second": exact.configurations / exact.seconds,
        "evaluator_per_second": max(r["evaluations"] or 0 for r in results["random"]) / options.seconds,
        "peer_seconds": options.seconds,
        "peers": results,
        "cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="budget of every peer")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--max-exits", type=int, default=3)
    parser.add_argument("--head-cost", type=float, default=1.0, help="times that of the tables")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "peers.json")
    options = parser.parse_args()
    objective = Objective(max_latency_ns=LATENCY_NS, threshold_grid=GRID, max_exits=options.max_exits)
    search(*random_tables(6, 2, 20, CLASSES), objective)  # compile
    statistics, table = with_head_cost(*random_tables(EXITS, HEADS, IMAGES, CLASSES), options.head_cost)
    exact = search(statistics, table, objective)
    if not exact.optimal:
        raise SystemExit("the exact search ran out of time: give it an idle machine")
    space = build_space(statistics, table, GRID)
    choices = Choices(exit_sets(EXITS, options.max_exits), options.max_exits, HEADS, GRID)
    results: dict[str, list[Summary]] = {}
    for name, run in peers_of(choices).items():
        for seed in range(options.seeds):
            evaluate = Evaluator(space, LATENCY_NS, time.monotonic() + options.seconds)
            run(evaluate, seed)
            results.setdefault(name, []).append(summary(evaluate, exact.miou, exact.seconds))
            print(name, seed, results[name][-1], flush=True)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(content_of(options, exact, results), indent=1) + "\n")
    gaps = {name: min(float(run["gap_pp_at_end"] or 0.0) for run in runs) for name, runs in results.items()}
    print(f"exact: mIoU {exact.miou:.5f} in {exact.seconds:.2f} s")
    print(f"short of it after {options.seconds:.0f} s, in pp, best seed: {gaps}")


if __name__ == "__main__":
    main()
