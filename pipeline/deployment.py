"""What a deployment is made of, from the request to the proof: the values that travel between its stages."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from device_profiler.measurement import DeviceIdentity, Measurement
from device_profiler.prediction import DeviceModel
from device_profiler.targets import Target
from mobile_export.bundle import Bundle
from mobile_export.manifest import MixedPrecision
from pipeline.app_options import AppOptions
from pipeline.checkpoint import Checkpoint
from pipeline.data.source import Size
from pipeline.deciding import Decision, Doubt, SplitStatistics
from pipeline.exact_search.configuration import Candidate
from pipeline.exact_search.objective import Objective
from pipeline.input_sizes import SizeOffer
from pipeline.latency_table import LatencyTable
from pipeline.model import MultiExitModel
from pipeline.network import Network
from pipeline.network_request import NetworkRequest
from pipeline.phone_check import PhoneAgreement
from pipeline.profiling import Profile
from pipeline.promise import Promise
from pipeline.proof import Proof
from pipeline.shipping import Shipment


@dataclass(frozen=True)
class DeployRequest:
    """One `deploy` as asked for; `options` are the resolved flags, as kept in config.toml.

    `promise`: what the certificate has to say, None where none is asked for; `store`: where measurements are kept;
    `max_int8_drop`: mIoU that int8 may cost before layers stay in floating point, None for int8 throughout; `sizes`:
    further input sizes (height, width) to choose from.
    """

    target: Target
    network: NetworkRequest
    objective: Objective
    promise: Promise | None
    app: AppOptions
    device: str
    require_device: bool
    options: dict[str, object]
    store: str | None = None
    max_int8_drop: float | None = None
    sizes: tuple[Size, ...] = ()


@dataclass(frozen=True, eq=False)
class Learned:
    """What training, evaluation and profiling gave; `device_model` is set where it predicts the target's unit,
    `mixed` where layers were sought that int8 should leave in floating point."""

    checkpoint: Checkpoint
    model: MultiExitModel
    statistics: SplitStatistics
    profile: Profile
    table: LatencyTable
    device_model: DeviceModel | None
    mixed: MixedPrecision | None = None


@dataclass(frozen=True, eq=False)
class TimedWhole:
    """A configuration shipped and timed whole: `search` and `test` are its figures by the latency table."""

    shipment: Shipment
    search: Candidate
    test: Candidate
    paths: tuple[Measurement, ...]

    def expected_ns(self, rates: tuple[float, ...]) -> float:
        """Latency over images that leave at these rates, each path as timed whole."""
        return float(np.dot(rates, [path.median_ns for path in self.paths]))

    @property
    def worst_ns(self) -> float:
        """The full path, timed whole."""
        return max(path.median_ns for path in self.paths)


@dataclass(frozen=True, eq=False)
class Deployment:
    """Everything that one run found and made."""

    request: DeployRequest
    identity: DeviceIdentity
    network: Network
    learned: Learned
    decision: Decision
    doubts: tuple[Doubt, ...]
    winner: TimedWhole
    reference: TimedWhole
    strongest_single: TimedWhole
    proof: Proof
    phone: tuple[PhoneAgreement, ...]
    bundle: Bundle
    run: Path
    sizes: tuple[SizeOffer, ...] = ()
