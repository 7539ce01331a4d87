"""Which layers int8 leaves in floating point: ranked one at a time, and as few kept as hold what int8 may cost.

Wu et al., "Integer Quantization for Deep Learning Inference" (arXiv 2004.09602), section 5.1, partial quantization:
each layer is put in int8 by itself and the layers are kept in floating point from the most sensitive on, until the
network is accurate enough. Here their number is doubled until it suffices, then halved between; then the least
sensitive of the kept layers are tried in int8 again. All this is computed on the host in simulated int8; the statistics
that are searched come from the exported parts themselves.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from device_profiler.errors import InfeasibleError
from device_profiler.files import write_atomic
from mobile_export.exporters import toolchain
from mobile_export.manifest import KeptLayer, MixedPrecision
from mobile_export.sensitivity import SimulatedInt8
from pipeline.checkpoint import Checkpoint
from pipeline.data.source import Split
from pipeline.evaluation import overlap, to_images
from pipeline.exit_statistics import mean_iou
from pipeline.model import MultiExitModel
from pipeline.network import Network
from pipeline.partition import Partition, block_entry, head_entry
from pipeline.policy import Finish
from pipeline.policy_name import DEFAULT_POLICY
from pipeline.progress import Progress, SilentProgress
from pipeline.quantized import calibration_images, features_of, parts_calibration
from pipeline.sources import graph_code
from pipeline.workspace import Workspace, content_key

RANKING_IMAGES = 8
"""Of the calibration images: how many labels a layer in int8 changes needs no truth."""
JUDGING_IMAGES = 24
"""Of the search split: mIoU with and without int8."""
TRIED_AGAIN = 12
"""Kept layers that are tried in int8 again, the least sensitive first."""
METHOD = (
    "one layer in int8 at a time, ranked by the labels that change; kept from the most sensitive on until no exit and "
    "head loses more mIoU than allowed, by doubling (arXiv 2004.09602, section 5.1); simulated on the host"
)

SILENT = SilentProgress()
DropWith = Callable[[Sequence[str]], float]
"""What int8 costs with these layers in floating point."""


def mixed_precision(
    network: Network, checkpoint: Checkpoint, model: MultiExitModel, allowed_drop: float, workspace: Workspace
) -> MixedPrecision:
    """The layers that stay in floating point so that int8 costs no exit and head more than `allowed_drop` of mIoU.

    Raises:
        InfeasibleError: it costs more with every layer in floating point; says how much.
    """
    key = content_key(
        checkpoint.description.weights_sha256, network.source.fingerprint, allowed_drop, METHOD,
        sorted(toolchain("executorch").items()), graph_code(), RANKING_IMAGES, JUDGING_IMAGES, TRIED_AGAIN,
    )
    path = workspace.kept("mixed-precision", key) / "mixed_precision.json"
    if path.exists():
        workspace.note_reuse("mixed precision", "the layers that stay in floating point")
        return msgspec.json.decode(path.read_bytes(), type=MixedPrecision)
    with workspace.timed("mixed precision"):
        progress = workspace.progress
        simulated = SimulatedNetwork.of(model, calibration_images(network.source.train), progress)
        judge = Judge.of(simulated, network.source.search, network.source.classes.ignore)
        found = choose(simulated.sensitivities(progress), judge, allowed_drop, progress)
    write_atomic(path, msgspec.json.encode(found))
    return found


@dataclass(frozen=True, eq=False)
class SimulatedNetwork:
    """Every block and head in simulated int8, layer by layer. `images` [N, 3, H, W] are what layers are ranked on."""

    model: MultiExitModel
    parts: dict[str, SimulatedInt8]
    names: dict[str, dict[str, str]]
    images: NDArray[np.float32]

    @classmethod
    def of(
        cls, model: MultiExitModel, images: NDArray[np.float32], progress: Progress = SILENT
    ) -> "SimulatedNetwork":
        """Of a network, with the ranges that its parts have on `images`; labels are judged, whatever the policy."""
        partition, calibration = Partition(model, DEFAULT_POLICY), parts_calibration(model, DEFAULT_POLICY, images)
        programs = [one for one in partition.parts() if not one.name.startswith("finish")]
        parts = {}
        with progress.task("blocks and heads in simulated int8", len(programs)) as advance:
            for program in programs:
                parts[program.name] = SimulatedInt8(program, calibration[program.name])
                advance(1, program.name)
        return cls(
            model,
            parts,
            {program.name: partition.layer_names(program) for program in programs},
            images[:: max(1, len(images) // RANKING_IMAGES)][:RANKING_IMAGES],
        )

    def keep(self, layers: Sequence[str]) -> None:
        """Put everything in int8 but these layers of the network."""
        kept = set(layers)
        for entry, part in self.parts.items():
            part.all_but([path for path, name in self.names[entry].items() if name in kept])

    def sensitivities(self, progress: Progress = SILENT) -> list[KeptLayer]:
        """Every layer with the labels that change when it alone is in int8, the most sensitive first."""
        features = features_of(self.model, self.images)
        places = [(entry, path) for entry, part in self.parts.items() for path in part.layers]
        ranked = []
        with progress.task("int8, one layer at a time", len(places)) as advance:
            for entry, path in places:
                layer = KeptLayer(self.names[entry][path], self._changed(entry, path, features))
                ranked.append(layer)
                advance(1, f"{layer.name}: {layer.changed:.1%}")
        return sorted(ranked, key=lambda layer: (-layer.changed, layer.name))

    @torch.inference_mode()
    def _changed(self, entry: str, path: str, features: list[list[NDArray[np.float32]]]) -> float:
        """Largest share of labels changed at an exit: of the layer's own head, or of the first head of every exit."""
        part = self.parts[entry]
        part.only(path)
        kind, number, *_ = entry.split("_")
        e, shares = int(number), []
        for index in range(len(self.images)):
            if kind == "head":
                before = torch.from_numpy(features[e][index])
                name = next(one for one in self.model.spec.heads[e] if head_entry(e, one) == entry)
                shares.append([_differ(part.run(before)[0], self.model.head(e, name)(before))])
                continue
            taken = features[e - 1][index] if e else self.images[index : index + 1]
            shares.append(self._changed_behind(e, part.run(torch.from_numpy(taken))[0], features, index))
        part.float()
        return float(np.mean(shares, axis=0).max())

    def _changed_behind(
        self, e: int, changed: Tensor, features: list[list[NDArray[np.float32]]], index: int
    ) -> list[float]:
        """Shares of labels changed at exit `e` and those behind it, by their first heads."""
        shares = []
        for k in range(e, len(self.model.spec.exits)):
            changed = self.model.blocks[k](changed) if k > e else changed
            head = self.model.head(k, self.model.spec.heads[k][0])
            shares.append(_differ(head(changed), head(torch.from_numpy(features[k][index]))))
        return shares


def _differ(logits: Tensor, expected: Tensor) -> float:
    return float((logits.argmax(1) != expected.argmax(1)).float().mean())


@dataclass(frozen=True, eq=False)
class Judge:
    """What int8 costs with some layers in floating point, in mIoU: the largest drop over exits and heads."""

    simulated: SimulatedNetwork
    images: NDArray[np.float32]
    masks: tuple[NDArray[np.uint8], ...]
    ignore: int
    miou: dict[str, float]

    @classmethod
    def of(cls, simulated: SimulatedNetwork, split: Split, ignore: int) -> "Judge":
        """On images spread over a split."""
        chosen = np.linspace(0, len(split) - 1, min(JUDGING_IMAGES, len(split))).astype(int)
        images = to_images(np.stack([split[int(i)].image for i in chosen])).numpy()
        masks = tuple(split[int(i)].mask for i in chosen)
        for part in simulated.parts.values():
            part.float()
        unjudged = cls(simulated, images, masks, ignore, {})
        return cls(simulated, images, masks, ignore, unjudged.scores())

    def drop(self, kept: Sequence[str]) -> float:
        """The largest drop of mIoU below the network in floating point when only `kept` stays in it."""
        self.simulated.keep(kept)
        scores = self.scores()
        return max(self.miou[entry] - score for entry, score in scores.items())

    @torch.inference_mode()
    def scores(self) -> dict[str, float]:
        """mIoU of every head's entry, as the parts are set."""
        spec, parts = self.simulated.model.spec, self.simulated.parts
        counts = {head_entry(e, name): np.zeros((2, len(spec.classes)), np.int64)
                  for e, names in enumerate(spec.heads) for name in names}
        finish = Finish(spec.size)
        for image, mask in zip(self.images, self.masks, strict=True):
            features = torch.from_numpy(image[None])
            for e, names in enumerate(spec.heads):
                (features,) = parts[block_entry(e)].run(features)
                for name in names:
                    labels = finish(parts[head_entry(e, name)].run(features)[0])
                    counted = overlap(labels[0].numpy(), mask, len(spec.classes), self.ignore)
                    counts[head_entry(e, name)] += np.stack(counted)
        return {entry: mean_iou(*both) for entry, both in counts.items()}


def choose(
    ranked: Sequence[KeptLayer], judge: Judge, allowed_drop: float, progress: Progress = SILENT
) -> MixedPrecision:
    """As few of the `ranked` layers, the most sensitive first, as hold `allowed_drop`.

    Raises:
        InfeasibleError: all of them do not.
    """
    names = [layer.name for layer in ranked]
    with progress.task("layers kept in floating point, at most", _most_trials(len(names))) as advance:

        def drop_with(kept: Sequence[str]) -> float:
            found = judge.drop(kept)
            advance(1, f"{len(kept)} of {len(names)} kept: {100 * found:.2f}pp lost")
            return found

        kept: list[str] = []
        drop = in_int8 = drop_with(())
        if in_int8 > allowed_drop:
            kept, drop = _try_again(*_prefix(names, drop_with, allowed_drop), drop_with, allowed_drop)
    chosen = tuple(layer for layer in ranked if layer.name in kept)
    return MixedPrecision(chosen, len(ranked), allowed_drop, in_int8, drop, len(judge.images), METHOD)


def _most_trials(layers: int) -> int:
    """Everything in int8; a prefix by doubling, then by halving; the last ones again."""
    doublings = math.ceil(math.log2(layers)) if layers else 0
    return 1 + (1 + doublings) + doublings + min(TRIED_AGAIN, layers)


def _prefix(names: list[str], drop_with: DropWith, allowed_drop: float) -> tuple[list[str], float]:
    """A short prefix that holds, and its drop: its length doubled until it does, then halved between.

    Doubling comes first because the drop does not fall evenly: bisection over all of them would end at a long prefix
    where a short one holds as well.
    """
    fails, holds = 0, 1
    while (drop := drop_with(names[:holds])) > allowed_drop and holds < len(names):
        fails, holds = holds, min(2 * holds, len(names))
    if drop > allowed_drop:
        raise InfeasibleError(
            f"int8 costs {100 * drop:.2f}pp of mIoU at some exit even with all {len(names)} layers in floating point, "
            f"{100 * allowed_drop:g}pp are allowed: raise --max-int8-drop to {math.ceil(1e4 * drop) / 100:g}pp, or "
            "choose a target in fp32 or fp16"
        )
    while holds - fails > 1:
        middle = (fails + holds) // 2
        tried = drop_with(names[:middle])
        fails, holds, drop = (fails, middle, tried) if tried <= allowed_drop else (middle, holds, drop)
    return names[:holds], drop


def _try_again(kept: list[str], drop: float, drop_with: DropWith, allowed_drop: float) -> tuple[list[str], float]:
    """Without the layers that the others make needless."""
    if len(kept) == 1:
        return kept, drop
    for name in kept[::-1][:TRIED_AGAIN]:
        fewer = [one for one in kept if one != name]
        tried = drop_with(fewer)
        kept, drop = (fewer, tried) if tried <= allowed_drop else (kept, drop)
    return kept, drop


def mixed_precision_lines(mixed: MixedPrecision, most: int | None = None) -> list[str]:
    """What was kept and why, for people; of the layers, the `most` most sensitive (None: all)."""
    told = f"int8 costs {100 * mixed.drop_in_int8:.2f}pp of mIoU at most on {mixed.images} images of the search split"
    if not mixed.kept:
        return [f"{told} ({100 * mixed.allowed_drop:g}pp allowed): all {mixed.layers} layers are in int8"]
    layers = [f"  {layer.name}: alone in int8 it changes {layer.changed:.1%} of the labels" for layer in mixed.kept]
    more = layers[most:] if most else []
    return [
        f"{told}, {100 * mixed.drop:.2f}pp with {len(mixed.kept)} of {mixed.layers} layers in floating point:",
        *layers[:most],
        *([f"  and {len(more)} more, named in manifest.json and the report"] if more else []),
    ]
