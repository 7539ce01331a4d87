"""A configuration as it ships: exported whole, held against eager PyTorch, run and timed whole on the phone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from device_profiler.abreast import abreast
from device_profiler.errors import InputError
from device_profiler.files import write_atomic
from device_profiler.host import at_once
from device_profiler.measurement import Measurement
from device_profiler.protocol import protocol_version
from device_profiler.targets import Target
from device_profiler.workload import Array, CascadePlan
from mobile_export.artifact import Artifact, Port
from mobile_export.boundary import to_stored
from mobile_export.camera_input import takes_bytes
from mobile_export.export_worker import export_in_worker
from mobile_export.exporters import Calibration, toolchain
from mobile_export.frame_images import frame_of, shrunk
from mobile_export.frame_input import takes_frames
from mobile_export.parity import TOLERANCES, check_parity
from mobile_export.program import Program
from mobile_export.session import HostSession
from pipeline.app_options import InputForm
from pipeline.checkpoint import Checkpoint
from pipeline.data.source import Bytes, Size, Split
from pipeline.evaluation import to_images
from pipeline.exact_search.configuration import Configuration
from pipeline.model import ModelSpec, MultiExitModel
from pipeline.partition import Partition, deployment_programs
from pipeline.phone_check import PhoneAgreement, compare_cascades, compare_delegation
from pipeline.phone_work import PhoneWork, WholeWork
from pipeline.policy_name import parse_policy
from pipeline.quantized import calibration_images
from pipeline.sources import graph_code
from pipeline.workspace import Workspace, content_key

PARITY_IMAGES = 32
EXPORT_MEMORY = 3 * 2**30
"""Bytes that the process of an export may take (1 to 3 GB were seen); it computes on one thread."""
RECORD = "artifact.json"


@dataclass(frozen=True, eq=False)
class Shipment:
    """An exported configuration: its file, how a host drives it, and what it was checked for."""

    configuration: Configuration
    artifact: Artifact
    file: Path
    plan: CascadePlan


@dataclass(frozen=True, eq=False)
class Bench:
    """What exporting and timing configurations of one trained network for one target needs.

    `frame`: the size of the camera's frames where the file takes them whole; `input` is then uint8.
    """

    model: MultiExitModel
    checkpoint: Checkpoint
    policy: str
    target: Target
    train: Split
    test: Split
    workspace: Workspace
    input: InputForm | None = None
    float_layers: tuple[str, ...] = ()
    frame: Size | None = None

    def ship_all(self, configurations: Sequence[Configuration]) -> tuple[Shipment, ...]:
        """Every configuration shipped, in their order; exports go as many at a time as the host takes.

        Raises:
            VerificationError: as `ship` does; exports that run then are finished and kept.
        """
        files = {(one.exits, one.heads): one for one in configurations}  # thresholds are no part of an export
        exported = dict(zip(files, abreast(self.ship, tuple(files.values()), at_once(EXPORT_MEMORY)), strict=True))

        def shipment(one: Configuration) -> Shipment:
            found = exported[one.exits, one.heads]
            return found if found.configuration == one else self.ship(one)

        return tuple(map(shipment, configurations))

    def ship(self, configuration: Configuration) -> Shipment:
        """Export and verify a configuration, or take it from the cache where the same was shipped before.

        Raises:
            VerificationError: parity failed, or an operator fell off the delegate undeclared.
        """
        target = self.target
        partition = Partition(self.model, self.policy, self.float_layers)
        programs, plan = deployment_programs(
            partition, configuration.exits, configuration.heads, configuration.limits
        )
        key = content_key(
            "shipment",
            self.checkpoint.description.weights_sha256,
            self.checkpoint.spec.size,
            self.policy,
            target.runtime,
            target.precision,
            configuration.exits,
            configuration.heads,
            sorted(toolchain(target.runtime).items()),
            graph_code(),
            PARITY_IMAGES,
            *([self.input] if self.input == "uint8" else []),
            *([self.frame] if self.frame else []),
            *([self.float_layers] if self.float_layers else []),
        )
        folder = self.workspace.kept("shipments", key)
        file = folder / f"model{target.suffix}"
        if (folder / RECORD).exists():
            self.workspace.note_reuse("export", f"{_title(configuration)} with its parity figures")
            artifact = msgspec.json.decode((folder / RECORD).read_bytes(), type=Artifact)
            return Shipment(configuration, artifact, file, plan)
        with (
            self.workspace.timed(f"export and parity ({_title(configuration)})"),
            self.workspace.progress.task(f"export and parity: {_title(configuration)}", 1) as advance,
        ):
            artifact = self._export(programs, file)
            advance(1, "")
        write_atomic(folder / RECORD, msgspec.json.encode(artifact))
        return Shipment(configuration, artifact, file, plan)

    def _export(self, programs: tuple[Program, ...], file: Path) -> Artifact:
        calibration = self._calibration(programs) if self.target.precision == "int8" else None
        if self.frame:
            programs = (takes_frames(programs[0], self.frame), *programs[1:])
        exported = (takes_bytes(programs[0]), *programs[1:]) if self.input == "uint8" else programs
        artifact = export_in_worker(
            self.target.runtime, exported, file, precision=self.target.precision, calibration=calibration
        )
        images = evenly(self.test, PARITY_IMAGES, self.frame)
        samples = [chain_inputs(programs, image[None]) for image in images]
        by_entry = {program.name: [sample[program.name] for sample in samples] for program in programs}
        flips = parse_policy(self.policy).flips
        tolerance = msgspec.structs.replace(TOLERANCES[self.target.precision], confidence_flips=flips)
        report = check_parity(msgspec.structs.replace(artifact, path=str(file)), by_entry, tolerance)
        return msgspec.structs.replace(artifact, path=file.name, parity=report)

    def _calibration(self, programs: tuple[Program, ...]) -> Calibration:
        images = calibration_images(self.train)
        samples = [chain_inputs(programs, images[i : i + 1]) for i in range(len(images))]
        return {program.name: [sample[program.name][0] for sample in samples] for program in programs}

    def time_paths(self, shipment: Shipment, phone: PhoneWork) -> tuple[Measurement, ...]:
        """Latency of every path through a shipment, image in to labels out, from the store where it is known."""
        artifact, plan = shipment.artifact, shipment.plan
        work = WholeWork(
            content_key("whole", artifact.sha256, plan.stages, plan.finish),
            shipment.file,
            plan,
            stored_image(artifact, plan, self.test, 0),
            {entry.name: entry.operators for entry in artifact.entries},
        )
        title = _title(shipment.configuration)
        with (
            self.workspace.timed(f"whole latency ({title})"),
            self.workspace.progress.task(f"on the phone: {title}", len(work.keys)) as advance,
        ):
            times = phone.time_whole(work, lambda: advance(1, ""))
        if times.reused:
            self.workspace.note_reuse("whole latency", title)
        return times.paths

    def check_on_phone(
        self, shipment: Shipment, phone: PhoneWork, indices: Sequence[int]
    ) -> tuple[PhoneAgreement, ...]:
        """Run the deployment, thresholds and all, on test images on the phone: the same exits and labels as here.

        Raises:
            VerificationError: an exit or too many labels differ.
        """
        said = (*plan_key(shipment.plan), indices, *image_code(shipment, self.test))

        def check() -> tuple[PhoneAgreement, ...]:
            images = [stored_image(shipment.artifact, shipment.plan, self.test, index) for index in indices]
            there = phone.run_cascade(shipment.file, shipment.plan, images)
            with HostSession(shipment.file, shipment.artifact.runtime) as session:
                here = [session.run_cascade(shipment.plan, image) for image in images]
            return compare_cascades(there, here)

        return self._kept_rows("phone check", shipment, phone, said, check)

    def check_delegation(self, shipment: Shipment, phone: PhoneWork) -> tuple[PhoneAgreement, ...]:
        """What ran on the phone against what the export declared; empty where the runtime tells no such events.

        Raises:
            VerificationError: no delegate was called, or something fell off it that was not declared.
        """
        if self.target.runtime != "executorch":
            return ()
        entries = (*shipment.plan.stages, *shipment.plan.finish)

        def check() -> tuple[PhoneAgreement, ...]:
            return compare_delegation(shipment.artifact, phone.watch(shipment.file, entries))

        return self._kept_rows("delegate on the phone", shipment, phone, entries, check)

    def _kept_rows(
        self,
        title: str,
        shipment: Shipment,
        phone: PhoneWork,
        said: Sequence[object],
        check: Callable[[], tuple[PhoneAgreement, ...]],
    ) -> tuple[PhoneAgreement, ...]:
        """What a check of a file on a phone found, or what was found before; `said`: what else it hangs on."""
        version = protocol_version(self.target, phone.identity.clock)
        key = content_key(title, shipment.artifact.sha256, phone.identity.fingerprint, version, *said)
        path = self.workspace.kept("phone", key) / "agreement.json"
        if path.exists():
            self.workspace.note_reuse(title, _title(shipment.configuration))
            return msgspec.json.decode(path.read_bytes(), type=tuple[PhoneAgreement, ...])
        with self.workspace.timed(title), self.workspace.progress.task(title, 1) as advance:
            rows = check()
            advance(1, "")
        write_atomic(path, msgspec.json.encode(rows))
        return rows


def plan_key(plan: CascadePlan) -> tuple[object, ...]:
    """A plan for `content_key`: infinite thresholds, which JSON lacks, keep their signs."""
    return plan.stages, plan.finish, tuple(map(repr, plan.thresholds))


def check_configuration(spec: ModelSpec, configuration: Configuration) -> None:
    """Hold a configuration that a user typed against the network.

    Raises:
        InputError: exits out of order or range, an unknown head, or not one head an exit and one threshold a hand-over.
    """
    exits, heads = configuration.exits, configuration.heads
    if not exits or list(exits) != sorted(set(exits)) or not 0 <= exits[0] <= exits[-1] < len(spec.exits):
        raise InputError(f"exits {exits} must ascend within 0 to {len(spec.exits) - 1}, as in 2,5")
    if len(heads) != len(exits) or len(configuration.thresholds) != len(exits) - 1:
        raise InputError(
            f"{len(exits)} exit(s) take as many heads and {len(exits) - 1} threshold(s), but got {len(heads)} and "
            f"{len(configuration.thresholds)}"
        )
    for e, head in zip(exits, heads, strict=True):
        if head not in spec.heads[e]:
            raise InputError(f"{spec.exit_names[e]} has no head {head!r}; choose one of {', '.join(spec.heads[e])}")


@torch.inference_mode()
def chain_inputs(
    programs: tuple[Program, ...], image: NDArray[np.float32]
) -> dict[str, tuple[tuple[Array, ...], tuple[Array, ...]]]:
    """Per program of a deployment, its real inputs and eager PyTorch's outputs when every stage runs on `image`."""
    by_name = {program.name: program for program in programs}
    found: dict[str, tuple[tuple[Array, ...], tuple[Array, ...]]] = {}

    def run(name: str, value: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs: tuple[torch.Tensor, ...] = by_name[name].module(value)
        found[name] = (value.numpy(),), tuple(output.numpy() for output in outputs)
        return outputs

    value = torch.from_numpy(image)
    if "segment" in by_name:
        run("segment", value)
        return found
    stages = sum(name.startswith("stage_") for name in by_name)
    for n in range(stages):
        outputs = run(f"stage_{n}", value)
        if n < stages - 1:
            value = outputs[0]
            run(f"finish_{n}", outputs[1])
    return found


def evenly(split: Split, count: int, frame: Size | None = None) -> NDArray[np.float32]:
    """`count` images (or all there are) [N, 3, H, W] in 0..255, spread over a split; enlarged to frames of a size."""
    chosen = np.linspace(0, len(split) - 1, min(count, len(split))).astype(int)
    images = [split[int(i)].image for i in chosen]
    planes: NDArray[np.float32] = to_images(
        np.stack([frame_of(image, frame) if frame else image for image in images])
    ).numpy()
    return planes


def stored_image(artifact: Artifact, plan: CascadePlan, split: Split, index: int) -> Array:
    """One image of a split as the first stage takes it."""
    taken = taken_image(artifact, plan, split, index)
    return to_stored(_image_port(artifact, plan), to_images(taken[None]).numpy())


def taken_image(artifact: Artifact, plan: CascadePlan, split: Split, index: int) -> Bytes:
    """One image of a split as uint8 RGB [H, W, 3] of the size that the first stage takes: a frame where it resizes.

    Splits hold images of the network's size: see `frame_images.frame_of` for how a frame is made of one.
    """
    image, size = split[index].image, taken_size(artifact, plan)
    return image if image.shape[:2] == size else frame_of(image, size)


def network_image(artifact: Artifact, plan: CascadePlan, split: Split, index: int) -> Bytes:
    """The same image as the network behind the first stage's resize is handed it, of the network's size."""
    taken, (height, width, _) = taken_image(artifact, plan, split, index), split[index].image.shape
    return taken if taken.shape[:2] == (height, width) else shrunk(taken, (height, width))


def image_code(shipment: Shipment, split: Split) -> tuple[str, ...]:
    """What a cache key says of how `taken_image` makes images: nothing where they are the split's own."""
    return () if taken_size(shipment.artifact, shipment.plan) == split.images.shape[1:3] else (graph_code(),)


def taken_size(artifact: Artifact, plan: CascadePlan) -> Size:
    """Height and width of the image that the first stage takes."""
    port = _image_port(artifact, plan)
    shape = port.spec.shape[1:3] if port.layout == "NHWC" else port.spec.shape[2:4]
    return shape[0], shape[1]


def _image_port(artifact: Artifact, plan: CascadePlan) -> Port:
    return artifact.entry(plan.stages[0]).inputs[0]


def _title(configuration: Configuration) -> str:
    pairs = zip(configuration.exits, configuration.heads, strict=True)
    return " > ".join(f"exit{e + 1} {head}" for e, head in pairs)
