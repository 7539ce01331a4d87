"""What a run of the experiments found, as kept on disk, and the tables that compare runs."""

import msgspec
import numpy as np
from plans import CHOSEN, SINGLE

FIRST_POLICY = "mean"
"""The policy that tables of trainings are told by."""


MOST_LOSS = 1.0
"""Points of mIoU that a cheaper configuration may lose against the single-exit network."""


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


class Point(msgspec.Struct, frozen=True):
    """A configuration of the Pareto front of the search split; `cost` in multiply-adds, `miou` of the test split."""

    setting: str
    exits: tuple[int, ...]
    heads: tuple[str, ...]
    search_miou: float
    miou: float
    cost: float


class Result(msgspec.Struct, frozen=True):
    """One run: mIoU of the best head at every exit (chosen on the search split, told on the test split).

    `front`: budgeted, and adaptive by the first policy. `steps`: of both stages, as trained.
    """

    question: str
    label: str
    seed: int
    full_search_miou: float
    full_miou: float
    full_cost: float
    exits_miou: tuple[float, ...]
    exits_heads: tuple[str, ...]
    chosen: tuple[Chosen, ...]
    front: tuple[Point, ...]
    threads: int
    images: int
    data: str
    size: tuple[int, int]
    steps: tuple[int, int]


def table_of(results: list[Result]) -> str:
    """Markdown: per question, mean and standard deviation over the seeds of every figure, in points of mIoU."""
    lines = []
    for question in dict.fromkeys(result.question for result in results):
        rows = [result for result in results if result.question == question]
        exits = len(rows[0].exits_miou)
        lines += [
            f"\n### {question}\n",
            f"| | seeds | {' | '.join(f'exit{e + 1}' for e in range(exits))} | full network "
            "| adaptive, at most 1 pp lower | cheaper |",
            "|" + "---|" * (exits + 5),
        ]
        for label in dict.fromkeys(row.label for row in rows):
            lines.append(_row(label, [row for row in rows if row.label == label]))
    return "\n".join([*lines, "", paired_table(results), goal_table(results), policy_table(results)])


def _row(label: str, of_label: list[Result]) -> str:
    mious = np.array([row.exits_miou for row in of_label]) * 100
    chosen = [c for row in of_label for c in row.chosen if c.answers(FIRST_POLICY)]
    cells = [
        label, str(len(of_label)), *[_spread(column) for column in mious.T],
        _spread([100 * row.full_miou for row in of_label]), _spread([100 * c.miou for c in chosen]),
        _spread([c.times_cheaper for c in chosen], "x"),
    ]
    return f"| {' | '.join(cells)} |"


def paired_table(results: list[Result]) -> str:
    """Markdown: every answer to a question against the chosen one of the same seed, in points of mIoU at each exit."""
    lines = ["### against the answer that was chosen, seed by seed\n"]
    for question in dict.fromkeys(r.question for r in results):
        chosen = {r.seed: r for r in results if r.question == question and r.label in CHOSEN}
        rows = [r for r in results if r.question == question and r.label not in CHOSEN and r.seed in chosen]
        if not rows:
            continue
        exits = len(rows[0].exits_miou)
        heading = f"| | seeds | {' | '.join(f'exit{e + 1}' for e in range(exits))} |"
        lines += [f"#### {question}\n", heading, "|" + "---|" * (exits + 2)]
        for label in dict.fromkeys(r.label for r in rows):
            gaps = [np.subtract(r.exits_miou, chosen[r.seed].exits_miou) for r in rows if r.label == label]
            cells = [label, str(len(gaps)), *[_spread(column) for column in 100 * np.transpose(gaps)]]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def policy_table(results: list[Result]) -> str:
    """Markdown: every exit policy over all runs: mIoU lost on the test split, and how much cheaper.

    A training that answers several questions counts once.
    """
    results = list({(r.seed, r.full_cost, r.exits_miou): r for r in results}.values())
    lines = ["### exit policies, all runs\n", "| policy | runs | lost, pp | cheaper |", "|---|---|---|---|"]
    for policy in dict.fromkeys(c.policy for result in results for c in result.chosen):
        rows = [(r, c) for r in results for c in r.chosen if c.answers(policy)]
        lost = _spread([100 * (r.full_miou - c.miou) for r, c in rows])
        lines.append(f"| {policy} | {len(rows)} | {lost} | {_spread([c.times_cheaper for _, c in rows], 'x')} |")
    return "\n".join(lines) + "\n"


def goal_table(results: list[Result]) -> str:
    """Markdown: every run of a form against its single-exit network of the same seed.

    The cheapest configuration at most 1 pp below that network on the search split: its gap to the network on the test
    split, in how many seeds that is at most 1 pp too, and how many times fewer multiply-adds it takes. With hindsight:
    the cheapest of the same front that is at most 1 pp below on the test split itself.
    """
    of_setting = " | ".join(f"{s}, pp above | kept | cheaper | with hindsight" for s in ("budgeted", "adaptive"))
    lines = ["### against the single-exit network trained for the whole time\n"]
    for question in dict.fromkeys(r.question for r in results):
        rows = [(r, s) for r in results if r.question == question and (s := single_of(r, results)) is not None]
        if rows:
            lines += [f"#### {question}\n", f"| | seeds | last exit, pp above | {of_setting} |", "|" + "---|" * 11]
        lines += [
            _goal_row(label, [(r, s) for r, s in rows if r.label == label])
            for label in dict.fromkeys(r.label for r, _ in rows)
        ]
        lines.append("")
    return "\n".join(lines)


def single_of(result: Result, results: list[Result]) -> Result | None:
    """The single-exit network of a result's form of backbone and seed, where it has been trained."""
    form = result.question.partition(", ")[2]
    return next(
        (r for r in results if r.label == SINGLE and r.seed == result.seed and r.question.endswith(form)), None
    )


def _goal_row(label: str, pairs: list[tuple[Result, Result]]) -> str:
    cells = [label, str(len(pairs)), _spread([100 * (r.full_miou - s.full_miou) for r, s in pairs])]
    for setting in ("budgeted", "adaptive"):
        near = [(point, s) for r, s in pairs if (point := _near(r, s, setting)) is not None]
        hindsight = [(point, s) for r, s in pairs if (point := _near(r, s, setting, hindsight=True)) is not None]
        gaps = [100 * (point.miou - s.full_miou) for point, s in near]
        kept = f"{sum(gap >= -MOST_LOSS for gap in gaps)} of {len(pairs)}"
        cells += [_spread(gaps) if near else "none", kept, _cheaper(near), _cheaper(hindsight)]
    return f"| {' | '.join(cells)} |"


def _cheaper(found: list[tuple[Point, Result]]) -> str:
    return _spread([single.full_cost / point.cost for point, single in found], "x") if found else "none"


def _near(result: Result, single: Result, setting: str, *, hindsight: bool = False) -> Point | None:
    """The cheapest configuration at most 1 pp below a network, on the search split or (hindsight) on the test split."""

    def lost(point: Point) -> float:
        if hindsight:
            return single.full_miou - point.miou
        return single.full_search_miou - point.search_miou

    near = [p for p in result.front if p.setting == setting and 100 * lost(p) <= MOST_LOSS]
    return min(near, key=lambda p: p.cost) if near else None


def _spread(values: object, unit: str = "") -> str:
    """Mean and, over several seeds, the standard deviation."""
    array = np.asarray(values, np.float64)
    deviation = f" ± {array.std(ddof=1):.2f}" if len(array) > 1 else ""
    return f"{array.mean():.2f}{unit}{deviation}"
