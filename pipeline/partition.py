"""Cuts a multi-exit network into programs: parts to profile and rank, and the stages that a deployment ships.

Every program has fixed shapes, batch 1, NCHW. The input image is float32 [1, 3, H, W], RGB in 0..255.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from device_profiler.workload import CascadePlan
from mobile_export.program import Program, TensorSpec
from pipeline.model import MultiExitModel
from pipeline.policy import Confidence, Finish


class _Block(nn.Module):
    """Backbone work between two neighbouring exits: features -> (features,)."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, features: Tensor) -> tuple[Tensor]:
        return (self.block(features),)


class _Head(nn.Module):
    """A head with its policy: features, and for a witness those of the exit before -> (logits, confidence)."""

    def __init__(self, head: nn.Module, confidence: Confidence, witness: nn.Module | None) -> None:
        super().__init__()
        self.head, self.confidence, self.witness = head, confidence, witness

    def forward(self, features: Tensor, before: Tensor | None = None) -> tuple[Tensor, Tensor]:
        logits = self.head(features)
        if self.witness is None:
            return logits, self.confidence(logits)
        return logits, self.confidence(logits, self.witness(before))


class _Finish(nn.Module):
    """Logits -> (label map,)."""

    def __init__(self, finish: Finish) -> None:
        super().__init__()
        self.finish = finish

    def forward(self, logits: Tensor) -> tuple[Tensor]:
        return (self.finish(logits),)


class _Stage(nn.Module):
    """A stage that may be left: features of the stage before (or the image) -> (features, logits, confidence)."""

    def __init__(self, blocks: nn.Sequential, judged: _Head) -> None:
        super().__init__()
        self.blocks, self.judged = blocks, judged

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        before = features
        for block in self.blocks:
            before, features = features, block(features)
        return features, *self.judged(features, before)


class _LastStage(nn.Module):
    """The stage that takes the rest, finish included: features of the stage before (or the image) -> (label map,)."""

    def __init__(self, blocks: nn.Sequential, head: nn.Module, finish: Finish) -> None:
        super().__init__()
        self.blocks, self.head, self.finish = blocks, head, finish

    def forward(self, features: Tensor) -> tuple[Tensor]:
        return (self.finish(self.head(self.blocks(features))),)


@dataclass(frozen=True)
class Shapes:
    """Shapes that the programs of one network have: the image, the features at each exit, the logits at each exit."""

    image: tuple[int, ...]
    features: tuple[tuple[int, ...], ...]
    logits: tuple[tuple[int, ...], ...]

    def entering(self, exit_index: int) -> TensorSpec:
        """What block `exit_index` takes in: the image, or the features of the exit before."""
        if exit_index == 0:
            return TensorSpec("image", self.image)
        return TensorSpec("features_in", self.features[exit_index - 1])

    @property
    def labels(self) -> TensorSpec:
        """The label map at input size."""
        return TensorSpec("labels", (1, *self.image[2:]), "int32")


def shapes_of(model: MultiExitModel) -> Shapes:
    """The shapes of `model`'s programs; logits are as large as the features that a head reads."""
    classes = len(model.spec.classes)
    logits = tuple((1, classes, *shape[2:]) for shape in model.feature_shapes)
    return Shapes((1, 3, *model.spec.size), model.feature_shapes, logits)


def block_entry(exit_index: int) -> str:
    """Entry name of the backbone block that ends at an exit (index from 0)."""
    return f"block_{exit_index}"


def head_entry(exit_index: int, name: str) -> str:
    """Entry name of a head; entry names have no hyphens."""
    return f"head_{exit_index}_{name.replace('-', '_')}"


def finish_entry(exit_index: int) -> str:
    """Entry name of the finish for logits of an exit's resolution."""
    return f"finish_{exit_index}"


class Partition:
    """Programs of one network under one exit policy; `float_layers`: modules of the network that int8 leaves alone."""

    def __init__(self, model: MultiExitModel, policy: str, float_layers: tuple[str, ...] = ()) -> None:
        self.model = model.eval()
        self.policy = policy
        self.shapes = shapes_of(self.model)
        self._float = {id(self.model.get_submodule(name)) for name in float_layers}

    def block(self, exit_index: int) -> Program:
        """Backbone block that ends at `exit_index`."""
        features = TensorSpec("features", self.shapes.features[exit_index])
        module = _Block(self.model.blocks[exit_index]).eval()
        return self._program(block_entry(exit_index), module, (self.shapes.entering(exit_index),), (features,))

    def head(self, exit_index: int, name: str) -> Program:
        """Head `name` at `exit_index` with the policy's arithmetic, its witness included."""
        module = self._judged(exit_index, name).eval()
        taken = [TensorSpec("features_in", self.shapes.features[exit_index])]
        if module.witness is not None:
            taken.append(TensorSpec("features_before", self.shapes.features[exit_index - 1]))
        outputs = self._logits(exit_index), self._confidence
        return self._program(head_entry(exit_index, name), module, tuple(taken), outputs)

    def finish(self, exit_index: int, name: str | None = None) -> Program:
        """Logits of `exit_index` to labels."""
        logits = TensorSpec("logits_in", self.shapes.logits[exit_index])
        module = _Finish(self._finish_module()).eval()
        return Program(name or finish_entry(exit_index), module, (logits,), (self.shapes.labels,))

    def prefix(self, exit_index: int, name: str, entry: str | None = None) -> Program:
        """The single-exit network that ends at `exit_index` with head `name`, image to labels."""
        module = _LastStage(self._range(0, exit_index), self.model.head(exit_index, name), self._finish_module()).eval()
        label = entry or f"prefix_{exit_index}_{name.replace('-', '_')}"
        return self._program(label, module, (self.shapes.entering(0),), (self.shapes.labels,))

    def stage(self, number: int, previous: int, exit_index: int, name: str, last: bool) -> Program:
        """Stage `number` of a cascade: the blocks after exit `previous` (-1: from the image) up to `exit_index`."""
        blocks, entering = self._range(previous + 1, exit_index), (self.shapes.entering(previous + 1),)
        if last:
            module = _LastStage(blocks, self.model.head(exit_index, name), self._finish_module()).eval()
            return self._program(f"stage_{number}", module, entering, (self.shapes.labels,))
        features = TensorSpec("features", self.shapes.features[exit_index])
        stage = _Stage(blocks, self._judged(exit_index, name)).eval()
        outputs = features, self._logits(exit_index), self._confidence
        return self._program(f"stage_{number}", stage, entering, outputs)

    def parts(self) -> tuple[Program, ...]:
        """Every block, head and finish: what a latency table is made of."""
        names = self.model.spec.heads
        return (
            *[self.block(e) for e in range(len(names))],
            *[self.head(e, name) for e in range(len(names)) for name in names[e]],
            *[self.finish(e) for e in range(len(names))],
        )

    def layer_names(self, program: Program) -> dict[str, str]:
        """Names in the network of the modules of one of its programs, by their path in it."""
        names = {id(module): name for name, module in self.model.named_modules()}
        return {path: names[id(part)] for path, part in program.module.named_modules() if id(part) in names}

    def _judged(self, exit_index: int, name: str) -> _Head:
        confidence = Confidence(self.policy)
        witness = self.model.witness(exit_index) if confidence.parsed.asks_witness else None
        return _Head(self.model.head(exit_index, name), confidence, witness)

    def _program(
        self, entry: str, module: nn.Module, taken: tuple[TensorSpec, ...], given: tuple[TensorSpec, ...]
    ) -> Program:
        kept = tuple(path for path, part in module.named_modules() if id(part) in self._float)
        return Program(entry, module, taken, given, kept)

    def _range(self, first: int, last: int) -> nn.Sequential:
        return nn.Sequential(*[self.model.blocks[k] for k in range(first, last + 1)])

    def _finish_module(self) -> Finish:
        return Finish((self.shapes.image[2], self.shapes.image[3]))

    def _logits(self, exit_index: int) -> TensorSpec:
        return TensorSpec("logits", self.shapes.logits[exit_index])

    @property
    def _confidence(self) -> TensorSpec:
        return TensorSpec("confidence", (1,))


def deployment_programs(
    partition: Partition, exits: tuple[int, ...], heads: tuple[str, ...], thresholds: tuple[float, ...]
) -> tuple[tuple[Program, ...], CascadePlan]:
    """What ships for a configuration, and how a host drives it.

    One exit: one program `segment`, image to labels. Several: `stage_<n>` for each selected exit, `finish_<n>` for each
    but the last.
    """
    if len(exits) == 1:
        program = partition.prefix(exits[0], heads[0], entry="segment")
        return (program,), CascadePlan(stages=("segment",), thresholds=(), finish=())
    stages = tuple(
        partition.stage(n, exits[n - 1] if n else -1, exits[n], heads[n], last=n == len(exits) - 1)
        for n in range(len(exits))
    )
    finishes = tuple(partition.finish(e, name=f"finish_{n}") for n, e in enumerate(exits[:-1]))
    names = tuple(p.name for p in stages), tuple(p.name for p in finishes)
    return (*stages, *finishes), CascadePlan(stages=names[0], thresholds=thresholds, finish=names[1])
