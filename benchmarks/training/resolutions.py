"""Resolution as an axis: one checkpoint at several input sizes, and what is chosen where size is free too.

Run: python benchmarks/training/resolutions.py --data folder:PATH --checkpoint RUN/checkpoint [--checkpoint ...]
     [--sizes 128x96,256x192,...] [--against results/quick/KEY.json ...] [--name resolutions]
Writes results/NAME.json and results/NAME.md.

Nothing is trained. The first checkpoint's full network, at the size it was trained for, is what the others are counted
against; or, with --against, each checkpoint is counted against a run of experiments.py on the same data. Labels of
every size are compared at one size, the largest or that of --against, so that figures of different sizes mean the same
pixels. Heads and sizes are chosen on the search split and told on the test split.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import torch
from outcomes import Result
from plans import EFFORTS

from device_profiler.files import write_atomic
from pipeline.checkpoint import Checkpoint, load_model, open_checkpoint
from pipeline.cli.network import parse_sizes
from pipeline.data import DataSource, load_source
from pipeline.data.source import Split
from pipeline.evaluation import BATCH, overlap, to_images
from pipeline.exit_statistics import mean_iou
from pipeline.model import MultiExitModel, count_model
from pipeline.pixel_size import width_x_height
from pipeline.policy import Finish
from pipeline.progress import terminal_progress

RESULTS = Path(__file__).parent / "results"
SIZES = "128x96,192x160,256x192,320x256,384x288,480x352"
DROP = 0.01


class Place(msgspec.Struct, frozen=True):
    """One head of one exit at one size (height, width): mIoU of both splits, multiply-adds of an image."""

    checkpoint: str
    trained_size: tuple[int, int]
    size: tuple[int, int]
    exit: int
    head: str
    full: bool
    search_miou: float
    miou: float
    cost: int


class Record(msgspec.Struct, frozen=True):
    """results/NAME.json. `grid`: the size at which labels are compared. `against`: by checkpoint, or nothing."""

    data: str
    grid: tuple[int, int]
    images: tuple[int, int]
    places: tuple[Place, ...]
    against: tuple[Place, ...] = ()


def main() -> None:
    """Evaluate and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--checkpoint", type=Path, action="append", required=True, help="its folder; repeatable")
    parser.add_argument("--sizes", default=SIZES, help=f"WIDTHxHEIGHT, ... (default: {SIZES})")
    parser.add_argument(
        "--against", type=Path, action="append", default=[],
        help="a result of experiments.py, one per checkpoint in their order (default: the first checkpoint)",
    )
    parser.add_argument("--name", default="resolutions", help="of the files in results/ (default: resolutions)")
    arguments = parser.parse_args()
    sizes = parse_sizes(arguments.sizes)
    against = tuple(recorded(path) for path in arguments.against)
    if len(against) not in (0, len(arguments.checkpoint)):
        parser.error(f"--against: {len(against)} given; give one for each --checkpoint, or none")
    grid = against[0].size if against else max(sizes)
    if any(place.size != grid for place in against) or grid not in sizes:
        parser.error(f"--against: the size of each must be one of --sizes, and the same; found {width_x_height(grid)}")
    sources = {
        size: load_source(arguments.data, size=size, area=0, amounts=EFFORTS["quick"].amounts,
                          progress=terminal_progress())
        for size in sizes
    }
    finest = sources[grid]
    places = [
        place
        for path in arguments.checkpoint
        for size, source in sources.items()
        for place in placed(open_checkpoint(path), size, source, finest)
    ]
    amounts = len(finest.search), len(finest.test)
    record = Record(finest.spec.partition(":")[0], finest.size, amounts, tuple(places), against)
    write_atomic(RESULTS / f"{arguments.name}.json", msgspec.json.format(msgspec.json.encode(record), indent=0))
    text = table(record)
    write_atomic(RESULTS / f"{arguments.name}.md", text)
    print(text)


def recorded(path: Path) -> Place:
    """The full network of a run of experiments.py, whose labels were compared at its own size."""
    result = msgspec.json.decode(path.read_bytes(), type=Result)
    return Place(
        path.stem[:8], result.size, result.size, len(result.exits_miou) - 1, "full network", True,
        result.full_search_miou, result.full_miou, int(result.full_cost),
    )


def placed(checkpoint: Checkpoint, size: tuple[int, int], source: DataSource, finest: DataSource) -> Iterator[Place]:
    """Every exit and head of a checkpoint at one size."""
    model = load_model(checkpoint.at_size(size))
    cost = count_model(model)
    searched = mious(model, source.search, finest.search, finest.classes.ignore)
    tested = mious(model, source.test, finest.test, finest.classes.ignore)
    for e, h in searched:
        yield Place(
            checkpoint.folder.name[:8], checkpoint.spec.size, size, e, model.spec.heads[e][h],
            (e, h) == model.spec.reference, searched[e, h], tested[e, h], cost.total(e, h),
        )


def mious(model: MultiExitModel, split: Split, finest: Split, ignore: int) -> dict[tuple[int, int], float]:
    """mIoU of every exit and head on a split's images, against the masks of the same images at the finest size."""
    finish, classes = Finish(finest.masks.shape[1:]), len(model.spec.classes)
    sums: dict[tuple[int, int], np.ndarray] = {}
    with torch.inference_mode(), terminal_progress().task(f"{model.spec.size}, {split.name}", len(split)) as advance:
        for start in range(0, len(split), BATCH):
            images = to_images(np.asarray(split.images[start : start + BATCH]))
            masks = np.asarray(finest.masks[start : start + BATCH])
            for e, of_exit in enumerate(model(images)):
                for h, logits in enumerate(of_exit):
                    pairs = zip(finish(logits).numpy(), masks, strict=True)
                    found = [np.stack(overlap(labels, mask, classes, ignore)) for labels, mask in pairs]
                    sums[e, h] = sums.get((e, h), 0) + np.sum(found, axis=0)
            advance(len(images), "")
    return {where: mean_iou(*both) for where, both in sums.items()}


def best_of(places: Sequence[Place]) -> Place:
    """The head that is best on the search split."""
    return max(places, key=lambda place: place.search_miou)


def bases_of(record: Record, checkpoint: int) -> tuple[Place, ...]:
    """What a checkpoint is counted against: the recorded run, or the first checkpoint's full network at two sizes.

    Those are the size it was trained for, and the one that is best for it.
    """
    if record.against:
        return (record.against[checkpoint],)
    first = [place for place in record.places if place.full and place.checkpoint == record.places[0].checkpoint]
    return next(place for place in first if place.size == place.trained_size), best_of(first)


def table(record: Record) -> str:
    """Markdown: per checkpoint every size's exits, and the cheapest places near the first checkpoint's full network."""
    lines = [
        f"# input sizes: {record.data}, {record.images[1]} test images, "
        f"labels compared at {width_x_height(record.grid)}\n",
        *dict.fromkeys(_unit(bases_of(record, i)[0]) for i in range(len(record.against) or 1)),
    ]
    for i, name in enumerate(dict.fromkeys(place.checkpoint for place in record.places)):
        own = [place for place in record.places if place.checkpoint == name]
        bases = bases_of(record, i)
        lines += [_sizes_table(name, own, bases[0]), _chosen_table(own, bases)]
    return "\n".join(lines)


def _unit(base: Place) -> str:
    return (
        f"Multiply-adds are those of the full network of {base.checkpoint} at {width_x_height(base.size)} "
        f"({base.cost / 1e9:.2f} G, mIoU {100 * base.miou:.2f}) = 1.\n"
    )


def _sizes_table(name: str, own: Sequence[Place], base: Place) -> str:
    exits = sorted({place.exit for place in own})
    lines = [
        f"### {name}, trained at {width_x_height(own[0].trained_size)}: mIoU, and multiply-adds\n",
        f"| input | {' | '.join(f'exit{e + 1}' for e in exits)} | full network |",
        "|" + "---|" * (len(exits) + 2),
    ]
    for size in dict.fromkeys(place.size for place in own):
        here = [place for place in own if place.size == size]
        shown = [best_of([place for place in here if place.exit == e]) for e in exits]
        shown.append(next(place for place in here if place.full))
        cells = [f"{100 * place.miou:.2f} ({place.cost / base.cost:.2f})" for place in shown]
        lines.append(f"| {width_x_height(size)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _chosen_table(own: Sequence[Place], bases: Sequence[Place]) -> str:
    """The cheapest place at most 1 pp below each base on the search split: at the base's size, and at any."""
    lines = [
        f"At most {100 * DROP:g} pp below {bases[0].checkpoint}'s full network on the search split, the cheapest:\n",
        "| that network at | sizes offered | input | exit | head | pp above | cheaper |",
        "|---|---|---|---|---|---|---|",
    ]
    for base in bases:
        for offered, places in (("the same", [p for p in own if p.size == base.size]), ("all", own)):
            near = [p for p in places if p.search_miou >= base.search_miou - DROP]
            found = _against(min(near, key=lambda place: place.cost), base) if near else "none | | | | "
            lines.append(f"| {width_x_height(base.size)} | {offered} | {found} |")
    return "\n".join(lines) + "\n"


def _against(place: Place, base: Place) -> str:
    gap, ratio = 100 * (place.miou - base.miou), base.cost / place.cost
    return f"{width_x_height(place.size)} | exit{place.exit + 1} | {place.head} | {gap:+.2f} | {ratio:.2f}x"


if __name__ == "__main__":
    main()
