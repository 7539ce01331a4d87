"""manifest.json: everything an app needs to run a bundle, and where every figure in it comes from."""

import math
from typing import Annotated, Any, Literal

import msgspec

from device_profiler.errors import InputError
from device_profiler.measurement import DeviceIdentity, Provenance
from device_profiler.targets import Target
from device_profiler.workload import CascadePlan
from mobile_export.artifact import Artifact, Quantization

SCHEMA = 2
"""2 adds what the reference code of a bundle obeys: resolutions, temporal, self_check, mean and std of the input, the
labels' own size."""


class SegmentationClass(msgspec.Struct, frozen=True):
    """A class: its index is its place in the manifest's list; `color` is RGB in 0..255."""

    name: str
    color: tuple[int, int, int]


class ImageInput(msgspec.Struct, frozen=True):
    """What the first entry takes: RGB, `size` (height, width), one image; others are resized to it by `resize`.

    `low`, `high`: real values of black and white; then `mean` is subtracted and by `std` divided, by channel: 0 and 1
    where normalisation is inside the network. `quantization`: how that value is stored; with scale 1 and zero point
    -128 a stored byte is the RGB byte minus 128. `resize`: "triangle" is the triangle filter, widened when shrinking
    (Pillow's BILINEAR), the image's shape not kept. `labels_size` (height, width): of the label map, null where it is
    `size`; they differ where the graph itself resizes the image.
    """

    size: tuple[int, int]
    layout: Literal["NCHW", "NHWC"]
    dtype: str
    low: float = 0.0
    high: float = 255.0
    channels: Literal["RGB"] = "RGB"
    quantization: Quantization | None = None
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    resize: Literal["triangle"] = "triangle"
    labels_size: tuple[int, int] | None = None


class Stage(msgspec.Struct, frozen=True):
    """One step of the host's loop: entry `entry` ends at exit `exit`; leave if confidence >= `threshold`.

    `threshold` is a float32, null where the stage takes all that reach it. `finish`: the entry that turns this
    stage's logits into labels, null where the stage gives labels itself. `rate`: share of test images that left here.

    Under the setting anytime every threshold is null: a host leaves where its deadline asks it to, and `rate` is the
    share of the deadlines that this exit answers.
    """

    entry: str
    exit: str
    head: str
    threshold: float | None
    finish: str | None
    rate: float


class Readout(msgspec.Struct, frozen=True):
    """What an anytime deployment answers by a deadline: the deepest exit whose path, timed whole, ends by then.

    `latency_ns`: that path. `miou`: of the shipped file on the test split, every image leaving at this exit.
    """

    deadline_ns: float
    exit: str
    latency_ns: float
    miou: float


class Resolution(msgspec.Struct, frozen=True):
    """Another size that the same file runs at, with entries of its own that share the weights.

    A host takes the size whose shape is nearest to the camera's. Thresholds and figures were validated at the
    manifest's own `input` and `stages` only.
    """

    input: ImageInput
    stages: tuple[Stage, ...]


class Temporal(msgspec.Struct, frozen=True):
    """How a host steadies video. Both only delay: no frame leaves less sure, no label appears that was not predicted.

    `exit_margin`: added to the threshold of every exit before the one that the last frame took. `label_frames`: a pixel
    takes a new label once it was seen in so many frames in a row; 1 shows every frame as it is.
    """

    exit_margin: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    label_frames: Annotated[int, msgspec.Meta(ge=1, le=60)] = 1


class ExpectedAnswer(msgspec.Struct, frozen=True):
    """The sample's answer at one exit: `labels` names a PGM file, `confidences` are those of the stages up to it."""

    labels: str
    confidences: tuple[float, ...]


class SelfCheck(msgspec.Struct, frozen=True):
    """What an app holds its phone against at the first start: the sample image, run to every exit in turn.

    `image` names a PPM file of the input's `size`; `exit`: the exit that it takes as deployed, its confidences further
    from the thresholds than `confidence_tolerance`. `label_agreement`: the least share of equal labels.
    """

    image: str
    exit: int
    answers: tuple[ExpectedAnswer, ...]
    confidence_tolerance: float
    label_agreement: float


class LatencyFigure(msgspec.Struct, frozen=True):
    """A latency in ns with its interval, its raw samples, and how it came about."""

    value_ns: float
    low_ns: float
    high_ns: float
    provenance: Provenance
    samples_ns: tuple[int, ...] = ()
    note: str = ""


class Latency(msgspec.Struct, frozen=True):
    """Latency on the target: expected over the exit rates, worst path, and the reference network's.

    `by_exit`: the path to each stage's exit, finish included. `device`: who ran it; null for a pure prediction.
    """

    expected: LatencyFigure
    worst: LatencyFigure
    by_exit: tuple[LatencyFigure, ...]
    reference: LatencyFigure | None = None
    strongest_single_exit: LatencyFigure | None = None
    device: DeviceIdentity | None = None


class Accuracy(msgspec.Struct, frozen=True):
    """mIoU in 0..1 of one network on one split; `what`: "deployment", "reference", "strongest single exit", ..."""

    what: str
    split: Literal["search", "test"]
    miou: float
    images: int
    precision: str
    class_iou: tuple[float | None, ...] = ()


class KeptLayer(msgspec.Struct, frozen=True):
    """A layer of the network that int8 leaves in floating point.

    `changed`: largest share of labels, over the exits behind it, that change when this layer alone is in int8.
    """

    name: str
    changed: float


class MixedPrecision(msgspec.Struct, frozen=True):
    """Which layers of an int8 network stay in floating point and why; `layers`: how many there are.

    `allowed_drop`: mIoU that int8 may cost at any exit and head. `drop_in_int8`, `drop`: what it costs with every layer
    in int8, and with `kept` in floating point, computed on `images` images of the search split. `method`: how found.
    """

    kept: tuple[KeptLayer, ...]
    layers: int
    allowed_drop: float
    drop_in_int8: float
    drop: float
    images: int
    method: str

    @property
    def names(self) -> tuple[str, ...]:
        """Of the kept layers, as modules of the network."""
        return tuple(layer.name for layer in self.kept)


class Certificate(msgspec.Struct, frozen=True):
    """What was promised, how it was shown, and on which images; goes into manifest.json.

    method: ltt (Learn then Test: the mean loss is at most epsilon with probability 1 - delta over the draw of the
    certify split) or crc (conformal risk control: the expected loss is at most epsilon; delta plays no part). risk: the
    mean loss observed. miou_gap: bootstrap interval (95 %) of the full network's mIoU minus the configuration's on the
    certify split; it is shown beside the certificate and not certified.
    """

    method: str
    epsilon: float
    delta: float | None
    loss: str
    images: int
    risk: float
    p_value: float | None
    thresholds: tuple[float, ...]
    raised: bool  # thresholds had to be raised above the search's choice
    steps: int  # of the path
    search_split: str  # SHA-256
    certify_split: str  # SHA-256
    miou_gap: tuple[float, float]


class Licence(msgspec.Struct, frozen=True):
    """Under what terms a part of the bundle stands: "weights", "training data", ..."""

    part: str
    licence: str
    source: str = ""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The content of manifest.json. `created`: ISO 8601, UTC. `classes` in index order; `policy`: exit policy's name.

    `files`: SHA-256 by path in the bundle of everything beside the manifest and SHA256SUMS. `labels_at`: the (height,
    width) at which `accuracy` compares labels, where several input sizes were to choose from; null: the input's.
    `artifact.path` is relative to the bundle. `readouts`: by rising deadline, anytime only. `self_check` is absent in
    bundles of schema 1 only, `mixed_precision` where it was not asked for.
    """

    schema: int = SCHEMA
    created: str
    target: Target
    setting: Literal["budgeted", "adaptive", "anytime"]
    policy: str
    classes: tuple[SegmentationClass, ...]
    input: ImageInput
    stages: tuple[Stage, ...]
    latency: Latency
    accuracy: tuple[Accuracy, ...]
    labels_at: tuple[int, int] | None = None
    artifact: Artifact
    versions: dict[str, str]
    licences: tuple[Licence, ...]
    certificate: Certificate | None = None
    readouts: tuple[Readout, ...] = ()
    resolutions: tuple[Resolution, ...] = ()
    temporal: Temporal = Temporal()
    mixed_precision: MixedPrecision | None = None
    self_check: SelfCheck | None = None
    files: dict[str, str] = {}
    warnings: tuple[str, ...] = ()

    @property
    def plan(self) -> CascadePlan:
        """How a host drives the stages; without a threshold no confidence is enough to leave before the last."""
        return CascadePlan(
            stages=tuple(stage.entry for stage in self.stages),
            thresholds=tuple(
                math.inf if stage.threshold is None else stage.threshold for stage in self.stages[:-1]
            ),
            finish=tuple(stage.finish for stage in self.stages if stage.finish is not None),
        )


class _Header(msgspec.Struct):
    schema: int


def decode_manifest(content: bytes, where: str) -> Manifest:
    """The manifest in `content`; `where` names it in errors.

    Raises:
        InputError: no JSON, no manifest, or a schema newer than this version reads.
    """
    try:
        found = msgspec.json.decode(content, type=_Header).schema
        if found > SCHEMA:
            raise InputError(f"{where} has schema {found}, this version reads up to {SCHEMA}: update the project")
        return msgspec.json.decode(content, type=Manifest)
    except msgspec.DecodeError as error:
        raise InputError(f"{where} is no manifest of a deployment: {error}") from error


def encode_manifest(manifest: Manifest) -> bytes:
    """Indented JSON; floats round-trip."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def json_schema() -> dict[str, Any]:
    """The JSON Schema of manifest.json, as kept in docs/manifest.schema.json."""
    schema = msgspec.json.schema(Manifest)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Deployment manifest", **schema}


def schema_text() -> str:
    """The text of docs/manifest.schema.json; written again by `python -m mobile_export.manifest > FILE`."""
    return msgspec.json.format(msgspec.json.encode(json_schema()), indent=2).decode() + "\n"


if __name__ == "__main__":
    print(schema_text(), end="")
