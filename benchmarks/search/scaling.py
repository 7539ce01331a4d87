"""How long the exact search takes as exits, heads, images and thresholds grow, and its peak memory.

Each case is a process of its own. Run: python benchmarks/search/scaling.py [--case NAME].
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tables import random_tables, with_head_cost

from pipeline.exact_search.configuration import Front, SearchResult
from pipeline.exact_search.front import front
from pipeline.exact_search.objective import Objective
from pipeline.exact_search.solver import search


@dataclass(frozen=True)
class Case:
    """One search: the size of its tables, its thresholds and its objective."""

    name: str
    exits: int = 6
    heads: int = 56
    images: int = 500
    classes: int = 21
    grid: int | None = 16
    max_exits: int = 3
    head_cost: float = 1.0  # times that of the tables
    latency: float | None = 12e6  # None: the cheapest at most 1 pp below the full network
    time_limit_s: float = 60.0
    front: bool = False  # the whole Pareto front instead of one configuration


CASES = (
    Case("target: most accurate"),
    Case("target: cheapest", latency=None),
    Case("4 heads", heads=4),
    Case("16 heads", heads=16),
    Case("3 exits", exits=3),
    Case("100 images", images=100),
    Case("1500 images", images=1500),
    Case("32 thresholds", grid=32),
    Case("4 heads, 100 images, every interval", heads=4, images=100, grid=None),
    Case("4 heads, 500 images, every interval", heads=4, images=500, grid=None),
    Case("16 heads, 500 images, every interval", heads=16, images=500, grid=None),
    Case("4 heads, up to 4 exits", heads=4, max_exits=4),
    Case("4 heads, all 6 exits, 8 thresholds", heads=4, max_exits=6, grid=8),
    Case("all 6 exits", max_exits=6, time_limit_s=300.0),
    Case("all 6 exits: cheapest", max_exits=6, latency=None, time_limit_s=300.0),
    Case("all 6 exits, 1500 images", max_exits=6, images=1500, time_limit_s=300.0),
    Case("all 6 exits, heads a tenth as costly", max_exits=6, head_cost=0.1, time_limit_s=300.0),
    Case("all 6 exits, heads a hundredth as costly", max_exits=6, head_cost=0.01),
    Case("front of all 6 exits: 4 heads, 200 images", heads=4, images=200, max_exits=6, time_limit_s=300.0, front=True),
    Case("memory: 1500 images x 6 exits x 60 heads", heads=60, images=1500),
)


def run_case(case: Case) -> dict[str, object]:
    """Search once, after a small search that compiles the kernels."""
    objective = Objective(
        max_latency_ns=case.latency,
        threshold_grid=case.grid,
        max_exits=case.max_exits,
        time_limit_s=case.time_limit_s,
    )
    search(*random_tables(case.exits, 2, 10, case.classes), objective)
    statistics, table = with_head_cost(
        *random_tables(case.exits, case.heads, case.images, case.classes), case.head_cost
    )
    before = time.process_time()
    found = front(statistics, table, objective) if case.front else search(statistics, table, objective)
    return {
        "case": case.name,
        "seconds": found.seconds,
        "cpu_seconds": time.process_time() - before,
        "configurations": found.configurations,
        "configurations_per_second": found.configurations / found.seconds if found.optimal else None,
        "optimal": found.optimal,
        "time_limit_s": case.time_limit_s,
        **({"points": len(found.points)} if isinstance(found, Front) else worth(found, objective)),
        "peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "load_average": os.getloadavg()[0],
    }


def worth(result: SearchResult, objective: Objective) -> dict[str, object]:
    """The configuration's figures, and how far its bound is from them."""
    own = result.latency_ns if objective.cheapest else 100 * result.miou
    return {
        "miou": result.miou,
        "latency_ns": result.latency_ns,
        "gap": abs((result.bound if objective.cheapest else 100 * result.bound) - own),
        "gap_unit": "ns" if objective.cheapest else "pp",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", choices=[case.name for case in CASES], help="only this one, printed as JSON")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "scaling.json")
    options = parser.parse_args()
    if options.case:
        case = next(case for case in CASES if case.name == options.case)
        print(json.dumps(run_case(case)))
        return
    rows = []
    for case in CASES:
        command = [sys.executable, __file__, "--case", case.name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows.append(json.loads(done.stdout))
        print(rows[-1], flush=True)
    content = {"cores": len(os.sched_getaffinity(0)), "cases": rows}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
