"""What the Python API returns: one frozen type a command; paths are paths, figures the commands' own types."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from device_profiler.measurement import Measurement
    from device_profiler.workload import CascadePlan
    from mobile_export.artifact import Artifact
    from mobile_export.manifest import Certificate, Manifest
    from pipeline.checkpoint import TrainingRecord
    from pipeline.exact_search.configuration import Configuration
    from pipeline.fleet.index import BundleIndex
    from pipeline.model import ModelSpec


@dataclass(frozen=True)
class Reuse:
    """A finished stage that was taken from the cache instead of being done again."""

    stage: str
    what: str


@dataclass(frozen=True)
class Deployed:
    """A deployment. `text`: the block that the command prints; `str()` gives it.

    run: the run folder. manifest: as in deployment/manifest.json: latencies in ns with their provenance, accuracies,
    stages, the artifact, warnings.
    """

    run: Path
    manifest: "Manifest"
    reused: tuple[Reuse, ...]
    text: str

    @property
    def bundle(self) -> Path:
        """The folder that an app takes."""
        return self.run / "deployment"

    @property
    def report(self) -> Path:
        """The page with the decision and why."""
        return self.run / "report.html"

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class DeployedFleet:
    """Deployments to several targets. `text`: the block that the command prints; `str()` gives it.

    run: the fleet's run folder; that of a target is in it, under the target's name. index: as in index.json: the
    bundles by SoC, and the targets that failed. comparison: the page with the runs side by side, where there are two.
    ai_pack: the folder for Google Play, where a bundle is for one of its phones. reused: by target.
    """

    run: Path
    index: "BundleIndex"
    comparison: Path | None
    ai_pack: Path | None
    reused: dict[str, tuple[Reuse, ...]]
    text: str

    def bundle(self, target: str) -> Path:
        """The folder that an app takes for a target's phones."""
        return self.run / self.index.bundle(target).bundle

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Trained:
    """A checkpoint: its folder, the network in it, and the training that gave it."""

    checkpoint: Path
    weights_sha256: str
    spec: "ModelSpec"
    training: "TrainingRecord | None"
    reused: tuple[Reuse, ...]


@dataclass(frozen=True)
class UnfinishedShare:
    """A share of a training that is done, and those that are still to be trained."""

    share: str
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Profiled:
    """Latencies of a network's parts: the latency.json, every part's measurement by entry name, what the store had."""

    latency: Path
    provenance: str
    measured: int
    parts: dict[str, "Measurement"]
    reused: tuple[str, ...]


@dataclass(frozen=True)
class ProfiledPhone:
    """One phone of several: how it ended there (see device_profiler.outcomes), its profile or the error."""

    address: str
    model: str
    outcome: str
    attempts: int
    error: str | None
    profile: Profiled | None


@dataclass(frozen=True)
class Found:
    """The best configuration of a search. Latencies in the table's unit (ns); `bound`: nothing is better than that.

    `optimal`: proven over the whole space. `certificate`: where a risk was promised.
    """

    configuration: "Configuration"
    miou: float
    latency_ns: float
    worst_latency_ns: float
    exit_rates: tuple[float, ...]
    optimal: bool
    bound: float
    configurations: int
    seconds: float
    certificate: "Certificate | None" = None


@dataclass(frozen=True)
class Exported:
    """One configuration as a file: the folder with it and its record, the artifact with its parity, the plan."""

    folder: Path
    artifact: "Artifact"
    plan: "CascadePlan"


@dataclass(frozen=True)
class Ran:
    """One image through a bundle on this machine. `host_ms` is this machine's time, not a phone's.

    `thresholds`: of every stage but the last, None where only a deadline ends (anytime); `deadline_ms`: as asked for.
    """

    bundle: Path
    image: Path
    mask: Path
    exit: str
    stage: int
    confidences: tuple[float, ...]
    thresholds: tuple[float | None, ...]
    deadline_ms: float | None
    class_shares: dict[str, float]
    host_ms: float
    runtime: str


@dataclass(frozen=True)
class SelfChecked:
    """A bundle's sample ran to every exit, here or on a phone (`on`), and agreed; a line for each exit."""

    bundle: Path
    on: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Reported:
    """A page, and the run folders that it is about."""

    report: Path
    runs: tuple[Path, ...]
