"""A report of a run that never was: made-up figures that agree with each other, for tests of the page only.

Images get a difficulty, exits an error that falls with depth; intersections and unions follow from both, and every
mIoU, exit rate, Pareto point and winner is computed from them as a search would.
"""

from dataclasses import dataclass
from functools import cache
from itertools import combinations, product

import msgspec
import numpy as np
from PIL import Image, ImageDraw

from device_profiler.measurement import DeviceIdentity, Provenance
from device_profiler.targets import find_target
from mobile_export.manifest import Certificate
from pipeline.run_report import (
    ArtifactFacts,
    Candidate,
    Choice,
    Constraint,
    DataFacts,
    EntryFacts,
    Example,
    ExampleStep,
    ExitGroup,
    ExitScore,
    FrontFacts,
    MajorityGuess,
    ParityCheck,
    PartTiming,
    PathTiming,
    PrecisionScore,
    QuantisationFacts,
    Repeat,
    Reused,
    RunReport,
    Score,
    SearchFacts,
    Sensitivity,
    ShippedFacts,
    StageTime,
    TensorFacts,
    Timing,
    TimingSource,
    Whole,
    encode_confidence,
    encode_labels,
    encode_photo,
)

EXITS = tuple(f"exit{n}" for n in range(1, 7))
HEADS = ("lraspp-r1", "lraspp-r2", "fcn-r1", "fcn-r4")
CLASSES = ("background", "mammal", "bird", "vehicle", "plant", "road sign", "object")
BLOCK_NS = (1_310_000.0, 840_000.0, 905_000.0, 870_000.0, 1_120_000.0, 1_240_000.0)
HEAD_NS = (410_000.0, 260_000.0, 720_000.0, 310_000.0)
BOUNDARY_NS = 62_000.0
FINISH_NS = 180_000.0
SIDE = 192
MAP_SIDE = 24


@dataclass(frozen=True)
class Split:
    """Statistics of one split, laid out as in statistics.npz."""

    confidence: np.ndarray
    intersection: np.ndarray
    union: np.ndarray


def make_split(images: int, seed: int) -> Split:
    """Made-up statistics: [exit, head, image] and [exit, head, image, class]."""
    generator = np.random.default_rng(seed)
    areas = generator.dirichlet([6.0] + [0.9] * (len(CLASSES) - 1), images) * SIDE * SIDE
    areas[areas < 400] = 0
    easy = generator.random(images) < 0.55
    difficulty = np.where(easy, generator.uniform(0.1, 0.5, images), generator.uniform(1.0, 1.9, images))
    depth_error = np.array([0.66, 0.54, 0.45, 0.385, 0.345, 0.325])
    head_error = np.array([1.0, 1.05, 1.02, 1.13])
    rarity = np.array([0.35] + [1.0 + 0.12 * n for n in range(len(CLASSES) - 1)])
    error = depth_error[:, None, None] * head_error[None, :, None] * difficulty
    wrong = (error[..., None] * rarity).clip(0, 0.95)
    lost = (wrong * areas).astype(np.int64)
    gained = (lost.sum(-1, keepdims=True) * areas / areas.sum(-1, keepdims=True)).astype(np.int64)
    confidence = (1 - 0.6 * error + generator.normal(0, 0.03, error.shape)).clip(0.05, 0.999)
    return Split(confidence, areas.astype(np.int64) - lost, areas.astype(np.int64) + gained)


def route(split: Split, choice: Choice) -> np.ndarray:
    """For each image, the position in `choice.exits` where it leaves."""
    taken = np.full(split.confidence.shape[2], len(choice.exits) - 1)
    for n in reversed(range(len(choice.thresholds))):
        taken[split.confidence[choice.exits[n], HEADS.index(choice.heads[n])] >= choice.thresholds[n]] = n
    return taken


def path_ns(choice: Choice) -> list[float]:
    """Sum of the parts of each path."""
    heads = np.cumsum([HEAD_NS[HEADS.index(head)] for head in choice.heads])
    return [
        sum(BLOCK_NS[: exit + 1]) + float(heads[n]) + n * BOUNDARY_NS + FINISH_NS for n, exit in enumerate(choice.exits)
    ]


def score(split: Split, choice: Choice, interval: bool = False) -> Score:
    """mIoU as routed, rates and latencies by parts."""
    taken = route(split, choice)
    exits = np.array(choice.exits)[taken]
    heads = np.array([HEADS.index(head) for head in choice.heads])[taken]
    images = np.arange(len(taken))
    intersection = split.intersection[exits, heads, images].sum(0)
    union = split.union[exits, heads, images].sum(0)
    ious = intersection / np.maximum(union, 1)
    miou = float(ious[union > 0].mean())
    rates = np.bincount(taken, minlength=len(choice.exits)) / len(taken)
    paths = path_ns(choice)
    return Score(
        miou=miou,
        latency_ns=float(rates @ paths),
        worst_latency_ns=paths[-1],
        exit_rates=tuple(float(rate) for rate in rates),
        miou_low=miou - 0.018 if interval else None,
        miou_high=miou + 0.017 if interval else None,
        class_iou=tuple(float(iou) for iou in ious) if interval else (),
    )


def macs(choice: Choice) -> float:
    """Multiply-adds of the full path, in proportion to latency."""
    return path_ns(choice)[-1] * 65


def candidate(search: Split, test: Split, choice: Choice) -> Candidate:
    """A tested candidate."""
    return Candidate(choice=choice, search=score(search, choice), test=score(test, choice, True), macs=macs(choice))


def cascades(split: Split) -> list[Choice]:
    """Every pair of exits with three heads and five thresholds, and a few triples."""
    choices = []
    for exits in [*combinations(range(6), 2), (0, 2, 4), (1, 3, 5), (1, 2, 4)]:
        for heads in product(HEADS[:3], repeat=len(exits)) if len(exits) == 2 else [(HEADS[1],) * 3]:
            for level in (0.2, 0.35, 0.5, 0.65, 0.8):
                first = zip(exits[:-1], heads[:-1], strict=True)
                thresholds = tuple(float(np.quantile(split.confidence[e, HEADS.index(h)], level)) for e, h in first)
                choices.append(Choice(setting="adaptive", exits=exits, heads=heads, thresholds=thresholds))
    return choices


def pareto(candidates: list[Candidate]) -> list[Candidate]:
    """Candidates that no other one beats in both figures."""
    front: list[Candidate] = []
    for one in sorted(candidates, key=lambda c: (c.search.latency_ns, -c.search.miou)):
        if not front or one.search.miou > front[-1].search.miou:
            front.append(one)
    return front


def anytime(split: Split, deadlines: tuple[float, ...]) -> list[Candidate]:
    """Anytime pairs of exits that none beats; worth: the mean over the deadlines of the deepest answer by then."""
    found = []
    for exits in combinations(range(6), 2):
        choice = Choice(setting="anytime", exits=exits, heads=(HEADS[0],) * 2)
        alone = [score(split, Choice(setting="budgeted", exits=(e,), heads=(HEADS[0],))).miou for e in exits]
        paths = path_ns(choice)
        read = [max((n for n, ns in enumerate(paths) if ns <= deadline), default=None) for deadline in deadlines]
        worth = Score(
            miou=sum(alone[n] for n in read if n is not None) / len(deadlines),
            latency_ns=paths[-1],
            worst_latency_ns=paths[-1],
            exit_rates=tuple(read.count(n) / len(deadlines) for n in range(2)),
        )
        found.append(Candidate(choice=choice, search=worth))
    return pareto(found)


def cheapest(candidates: list[Candidate], miou: float) -> Candidate:
    """The fastest candidate that reaches `miou`."""
    return min((c for c in candidates if c.search.miou >= miou), key=lambda c: c.search.latency_ns)


def timing(ns: float, source: TimingSource, spread: float = 0.02) -> Timing:
    """A timing whose interval has a width only where a real clock ran."""
    width = ns * spread if source.provenance == "measured" else 0.0
    samples = {"measured": 320, "emulated": 5, "predicted": 1}[source.provenance]
    return Timing(ns=ns, low_ns=ns - width, high_ns=ns + width, samples=samples, source=source)


def whole(one: Candidate, source: TimingSource) -> Whole:
    """A candidate timed whole, 2 to 3 % above its parts."""
    paths = tuple(
        PathTiming(exit=exit, whole=timing(ns * (1.021 + 0.004 * n), source), parts_ns=ns)
        for n, (exit, ns) in enumerate(zip(one.choice.exits, path_ns(one.choice), strict=True))
    )
    return Whole(candidate=one, paths=paths)


def parts(source: TimingSource) -> tuple[PartTiming, ...]:
    """The whole latency table."""
    blocks = [
        PartTiming(kind="block", exit=n, timing=timing(ns, source), macs=ns * 65) for n, ns in enumerate(BLOCK_NS)
    ]
    heads = [
        PartTiming(kind="head", exit=exit, head=head, timing=timing(ns, source), macs=ns * 65, reused=exit < 2)
        for exit in range(6)
        for head, ns in zip(HEADS, HEAD_NS, strict=True)
    ]
    rest = [
        PartTiming(kind="boundary", timing=timing(BOUNDARY_NS, source)),
        PartTiming(kind="finish", timing=timing(FINISH_NS, source)),
    ]
    return (*blocks, *heads, *rest)


def exit_scores(test: Split) -> tuple[ExitScore, ...]:
    """Every exit and head alone on the test split."""
    rows = []
    for exit, head in product(range(6), HEADS):
        alone = score(test, Choice(setting="budgeted", exits=(exit,), heads=(head,)), True)
        rows.append(
            ExitScore(exit=exit, head=head, miou=alone.miou, class_iou=alone.class_iou, macs=alone.latency_ns * 65)
        )
    return tuple(rows)


def scene(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A photo uint8 [H, W, 3] and its label map uint8 [H, W]: shapes on a gradient with grain."""
    generator = np.random.default_rng(seed)
    rows = np.linspace(0, 1, SIDE)[:, None, None]
    sky = np.array(generator.integers(90, 220, 3)) * (1 - rows) + np.array(generator.integers(40, 160, 3)) * rows
    photo = Image.fromarray(np.broadcast_to(sky, (SIDE, SIDE, 3)).astype(np.uint8))
    labels = Image.new("L", (SIDE, SIDE))
    for _ in range(int(generator.integers(1, 4))):
        kind, half = int(generator.integers(1, len(CLASSES))), int(generator.integers(18, 58))
        x, y = (int(v) for v in generator.integers(half, SIDE - half, 2))
        box = (x - half, y - half, x + half, y + int(half * generator.uniform(0.5, 1)))
        colour = tuple(int(v) for v in generator.integers(20, 240, 3))
        for canvas, fill in ((photo, colour), (labels, kind)):
            draw = ImageDraw.Draw(canvas)
            (draw.ellipse if kind % 2 else draw.rectangle)(box, fill=fill)
    grain = generator.normal(0, 9, (SIDE, SIDE, 3))
    return (np.asarray(photo) + grain).clip(0, 255).astype(np.uint8), np.array(labels)


def guess(truth: np.ndarray, cell: int, seed: int) -> np.ndarray:
    """A label map as a coarse head would give it: blocks of `cell` pixels, some of them wrong."""
    generator = np.random.default_rng(seed)
    shift = generator.integers(-cell, cell + 1, 2)
    small = np.roll(truth, shift, (0, 1))[cell // 2 :: cell, cell // 2 :: cell].copy()
    small[generator.random(small.shape) < 0.0015 * cell] = generator.integers(0, len(CLASSES))
    return np.asarray(Image.fromarray(small).resize((SIDE, SIDE), Image.Resampling.NEAREST))


def examples(choice: Choice) -> tuple[Example, ...]:
    """Three images that leave at the first exit and three that go on to the last."""
    made = []
    for n in range(6):
        photo, truth = scene(100 + n)
        truth[:3] = 255
        visited = choice.exits if n >= 3 else choice.exits[:1]
        steps = tuple(_step(choice, truth, k, n, k == len(visited) - 1) for k in range(len(visited)))
        others = tuple(_other(exit, truth) for exit in range(len(EXITS)) if exit not in visited)
        made.append(
            Example(
                name=f"test/{n:04d}",
                photo=encode_photo(photo),
                truth=encode_labels(truth),
                steps=steps,
                others=others,
            )
        )
    return tuple(made)


def _step(choice: Choice, truth: np.ndarray, position: int, number: int, leaves: bool) -> ExampleStep:
    mask = guess(np.where(truth == 255, 0, truth), (16 if number >= 3 else 6) // (position + 1), number * 10 + position)
    threshold = choice.thresholds[position] if position < len(choice.thresholds) else None
    confidence = None if threshold is None else min(0.999, threshold + 0.02) if leaves else threshold - 0.04
    return ExampleStep(
        exit=choice.exits[position],
        confidence=confidence,
        threshold=threshold,
        mask=encode_labels(mask),
        agreement=float((mask == truth)[truth != 255].mean()),
        confidence_map=encode_confidence(np.linspace(0.2, 1, MAP_SIDE**2).reshape(MAP_SIDE, MAP_SIDE)),
        map_by="shipped file" if threshold is not None else "fp32 network",
    )


def pictures(example: Example) -> int:
    """<img> elements of an example in the gallery: truth; mask, map and errors by exit; the other exits."""
    return 1 + 3 * len(example.steps) + len(example.others)


def _other(exit: int, truth: np.ndarray) -> ExampleStep:
    mask = guess(np.where(truth == 255, 0, truth), 8, exit)
    agreement = float((mask == truth)[truth != 255].mean())
    return ExampleStep(exit=exit, confidence=None, threshold=None, mask=encode_labels(mask), agreement=agreement)


def identity(emulated: bool = True) -> DeviceIdentity:
    """The phone."""
    return DeviceIdentity(
        address="127.0.0.1:5601" if emulated else "28121FDH2000AB",
        model="Pixel 7",
        soc="Google Tensor G2",
        abi="arm64-v8a",
        android="14",
        fingerprint="google/panther/panther:14/UQ1A.240205.002/11224170:user/release-keys",
        emulated=emulated,
        clock="virtual" if emulated else "wall",
    )


@dataclass(frozen=True, eq=False)
class Found:
    """What a search would have found: `fronts` by setting, `configurations` in all."""

    test: Split
    reference: Candidate
    singles: list[Candidate]
    strongest: Candidate
    chosen: Candidate
    fronts: dict[str, list[Candidate]]
    deadlines: tuple[float, ...]
    configurations: int

    def front_facts(self, optimal: bool) -> tuple[FrontFacts, ...]:
        """One a setting."""
        return tuple(
            FrontFacts(
                setting=name,  # type: ignore[arg-type]
                optimal=optimal,
                configurations=len(points),
                seconds=1.0,
                deadlines_ns=self.deadlines if name == "anytime" else (),
            )
            for name, points in self.fronts.items()
        )

    def groups(self) -> tuple[ExitGroup, ...]:
        """The test split's images by the exit at which they leave."""
        exits = self.chosen.choice.exits
        counts = np.bincount(route(self.test, self.chosen.choice), minlength=len(exits))
        return tuple(
            ExitGroup(exit=exit, images=int(count), miou=0.52 - 0.1 * n)
            for n, (exit, count) in enumerate(zip(exits, counts, strict=True))
        )


def search_for(setting: str) -> Found:
    """The cheapest configuration of a setting at most 1 pp below the full network, and every front."""
    search, test = make_split(240, 1), make_split(300, 2)
    singles = [
        candidate(search, test, Choice(setting="budgeted", exits=(exit,), heads=(head,)))
        for exit, head in product(range(6), HEADS)
    ]
    reference = next(c for c in singles if c.choice.exits == (5,) and c.choice.heads == (HEADS[2],))
    floor = reference.search.miou - 0.01
    multiple = [candidate(search, test, choice) for choice in cascades(search)]
    deadlines = tuple(share * reference.search.latency_ns for share in (0.5, 1.0))
    fronts = {"budgeted": pareto(singles), "anytime": anytime(search, deadlines)}
    if setting == "adaptive":
        fronts["adaptive"] = pareto(multiple)
    strongest = cheapest(singles, floor)
    chosen = cheapest(multiple, floor) if setting == "adaptive" else strongest
    count = len(singles) + len(multiple)
    return Found(test, reference, singles, strongest, chosen, fronts, deadlines, count)


def changed(report: RunReport, **fields: object) -> RunReport:
    """The same report with other fields."""
    return msgspec.structs.replace(report, **fields)


@cache
def make_report(
    provenance: Provenance = "predicted", setting: str = "adaptive", run: str = "pixel7-npu", optimal: bool = True
) -> RunReport:
    """A whole report. `setting` is "adaptive" or "budgeted"."""
    found = search_for(setting)
    adaptive, choice = setting == "adaptive", found.chosen.choice
    unit = {"predicted": "npu", "emulated": "cpu", "measured": "cpu"}[provenance]
    source = TimingSource(provenance=provenance, requested_unit=unit, actual_unit=unit)
    return RunReport(
        run=run,
        created="2026-11-21T22:58:00+00:00",
        target=find_target("pixel7-npu" if unit == "npu" else "pixel7-cpu"),
        device=identity(provenance != "measured"),
        form="USB" if provenance == "measured" else "namespace",
        backbone="efficientnet-lite0",
        input_size=(SIDE, SIDE),
        policy="mean-top1",
        data=data_facts(),
        exits=EXITS,
        setting=setting,  # type: ignore[arg-type]
        constraints=(Constraint(kind="max_drop", bound=0.01),),
        search=SearchFacts(configurations=found.configurations, seconds=3.2, optimal=optimal),
        table=source,
        chosen=whole(found.chosen, source),
        reference=whole(found.reference, source),
        strongest_single=whole(found.strongest, source),
        singles=tuple(found.singles),
        front=tuple(point for points in found.fronts.values() for point in points),
        fronts=found.front_facts(optimal),
        parts=parts(source),
        exit_scores=exit_scores(found.test),
        majority=MajorityGuess(name="background", miou=0.071),
        groups=found.groups(),
        near_threshold=2 if adaptive else None,
        shipped=ShippedFacts(miou=0.5123, images=300, flipped=0, confidence_error=3.6e-7),
        certificate=certificate(choice) if adaptive else None,
        examples=examples(choice),
        parity=parity(),
        artifacts=(ArtifactFacts(name="model.tflite", sha256="3f" * 32, size_bytes=4_812_345, delegated_share=0.965),),
        entries=entries(),
        quantisation=quantisation() if provenance == "predicted" else None,
        sensitivity=_sensitivity(choice, found.strongest.choice) if provenance == "predicted" else (),
        winner_by_macs=choice,
        state_before={"battery": "87 %, 29.1 °C", "thermal status": "0"},
        state_after={"battery": "86 %, 30.4 °C", "thermal status": "0"},
        reused=(Reused(stage="profile", what="8 of 38 parts from the store"),),
        stages=stages(),
        repeat=repeat(run, setting),
        warnings=_warnings(provenance),
    )


def data_facts() -> DataFacts:
    """Data of three splits."""
    return DataFacts(
        source="sample",
        images={"train": 2400, "search": 240, "test": 300},
        classes=CLASSES,
        note="Objects and photos of one split appear in no other.",
    )


def parity() -> tuple[ParityCheck, ...]:
    """Checks on the host and on the phone, a figure that may be at most its limit and one at least."""
    error, same = "largest logit error", "equal labels"
    return (
        ParityCheck(place="host", entry="stage_0", figure=error, value=0.061, limit=0.5, samples=16),
        ParityCheck(place="host", entry="finish_0", figure=same, value=0.9971, limit=0.98, at_most=False, samples=16),
        ParityCheck(place="phone", entry="stage_0", figure=error, value=0.0, limit=0.05, samples=4),
    )


def stages() -> tuple[StageTime, ...]:
    """A whole deployment's, one of them beside another."""
    return (
        StageTime(stage="data", seconds=14.2),
        StageTime(stage="train", seconds=431.0),
        StageTime(stage="profile", seconds=96.4, beside="train"),
        StageTime(stage="evaluate", seconds=38.0),
        StageTime(stage="search", seconds=3.2),
        StageTime(stage="export", seconds=61.5),
        StageTime(stage="verify", seconds=22.1),
    )


def repeat(run: str, setting: str) -> Repeat:
    """How to make the run again."""
    return Repeat(
        command=f"python -m pipeline deploy --target {run} --setting {setting} --max-drop 1pp",
        config=f'target = "{run}"\nsetting = "{setting}"\nmax-drop = "1pp"\nseed = 0\n',
        versions={"mess-deploy": "0.1.0", "torch": "2.14.1", "ai-edge-litert": "2.3.0", "python": "3.11.2"},
        also={"this page again": f"python -m pipeline report --run runs/{run}"},
        hashes={"trained weights": "ab" * 32, "shipped file": "3f" * 32},
    )


def certificate(choice: Choice) -> Certificate:
    """A promise that held without raising a threshold."""
    return Certificate(
        method="ltt",
        epsilon=0.02,
        delta=0.05,
        loss="increase of the share of wrong pixels",
        images=160,
        risk=0.0041,
        p_value=0.031,
        thresholds=choice.thresholds,
        raised=False,
        steps=51,
        search_split="aa" * 32,
        certify_split="bb" * 32,
        miou_gap=(-0.004, 0.013),
    )


def entries() -> tuple[EntryFacts, ...]:
    """Two stages, one with an operator on the host's side."""
    image = TensorFacts(name="image", shape=(1, SIDE, SIDE, 3), dtype="int8", scale=1.0, zero_point=-128)
    first = EntryFacts(
        name="stage_0", operators=60, delegated=58, macs=90_000_000, host_side=("softmax",), tensors=(image,)
    )
    return first, EntryFacts(name="stage_1", operators=40, delegated=40, macs=80_000_000)


def quantisation() -> QuantisationFacts:
    """int8 loses half a point at the first exit and nothing at the last."""
    return QuantisationFacts(
        precision="int8",
        calibration_images=48,
        scores=(
            PrecisionScore(exit=0, head=HEADS[0], fp32=0.41, quantised=0.405),
            PrecisionScore(exit=5, head=HEADS[2], fp32=0.52, quantised=0.52),
        ),
    )


def _sensitivity(chosen: Choice, other: Choice) -> tuple[Sensitivity, ...]:
    def row(parameter: str, value: float, unit: str, at_half: Choice) -> Sensitivity:
        return Sensitivity(
            parameter=parameter, value=value, unit=unit, source="assumed", at_half=at_half, at_double=chosen
        )

    return (
        row("peak rate, int8", 4.0, "TOPS", chosen),
        row("memory bandwidth", 25.6, "GB/s", chosen),
        row("hand-off to the host", 60, "µs", other),
    )


def _warnings(provenance: Provenance) -> tuple[str, ...]:
    if provenance == "measured":
        return ()
    words = ["No phone of this target was attached: this is an emulated phone, not a real one."]
    if provenance == "predicted":
        words.append("NPU times are predicted by a device model whose parameters are partly assumed.")
    return tuple(words)
