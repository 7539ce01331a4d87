"""What a report shows as proof beside the figures: the shipped file, its entry points, quantisation, repetition."""

import platform
import shlex

from device_profiler.files import sha256_path
from device_profiler.protocol import protocol_version
from mobile_export.artifact import Artifact, EntryPoint, Port
from pipeline.bundling import package_versions
from pipeline.deployment import Deployment
from pipeline.exit_statistics import ExitStatistics
from pipeline.mixed_precision import mixed_precision_lines
from pipeline.network import float_statistics
from pipeline.quantized import CALIBRATION_IMAGES
from pipeline.run_report import EntryFacts, PrecisionScore, QuantisationFacts, Repeat, ShippedFacts, TensorFacts
from pipeline.workspace import Workspace

HASHED = ("statistics.npz", "latency.json", "front.json", "config.toml")


def shipped_facts(deployment: Deployment) -> ShippedFacts:
    """What the shipped file itself did on the test split."""
    proof = deployment.proof
    return ShippedFacts(
        miou=proof.miou,
        images=len(proof.answers.exits),
        flipped=proof.flipped,
        confidence_error=proof.parity_error,
    )


def entry_facts(artifact: Artifact) -> tuple[EntryFacts, ...]:
    """Every entry point of an artifact, with the form of the tensors at its edge."""
    return tuple(
        EntryFacts(
            name=entry.name,
            operators=len(entry.operators),
            delegated=sum(operator.delegated for operator in entry.operators),
            macs=entry.macs,
            host_side=entry.host_side,
            tensors=_tensors(entry),
        )
        for entry in artifact.entries
    )


def _tensors(entry: EntryPoint) -> tuple[TensorFacts, ...]:
    return tuple(_tensor(port) for port in (*entry.inputs, *entry.outputs))


def _tensor(port: Port) -> TensorFacts:
    stored = port.quantization
    return TensorFacts(
        name=port.spec.name,
        shape=tuple(port.spec.shape),
        dtype=port.spec.dtype,
        scale=stored.scale if stored else None,
        zero_point=stored.zero_point if stored else None,
    )


def quantisation_facts(deployment: Deployment, workspace: Workspace) -> QuantisationFacts | None:
    """mIoU of every exit and head before and after quantisation; None where nothing is quantised.

    The fp32 network is evaluated on the test split for it, once: the statistics are kept.
    """
    after = deployment.learned.statistics.test
    if after.precision == "fp32":
        return None
    learned = deployment.learned
    before = float_statistics(deployment.network, learned.checkpoint, learned.model, "test", workspace)
    return QuantisationFacts(
        precision=after.precision,
        calibration_images=min(CALIBRATION_IMAGES, len(deployment.network.source.train)),
        scores=_precision_scores(before, after),
        mixed=tuple(line.strip() for line in mixed_precision_lines(learned.mixed)) if learned.mixed else (),
    )


def _precision_scores(before: ExitStatistics, after: ExitStatistics) -> tuple[PrecisionScore, ...]:
    return tuple(
        PrecisionScore(exit=e, head=name, fp32=before.miou(e, h), quantised=after.miou(e, h))
        for e, names in enumerate(after.heads)
        for h, name in enumerate(names)
        if name
    )


def repeat_facts(deployment: Deployment) -> Repeat:
    """Commands, versions and hashes that it takes to run a deployment again and to hold it against this one."""
    run = deployment.run
    config = run / "config.toml"
    bundle, page = shlex.quote(str(run / "deployment")), shlex.quote(str(run))
    sample = shlex.quote(str(run / "deployment" / "sample.png"))
    return Repeat(
        command=f"python -m pipeline deploy --config {shlex.quote(str(config))} --run {page}",
        config=config.read_text() if config.exists() else "",
        versions={**package_versions(), **_host_versions(deployment)},
        also={
            "the bundle on its sample image, on this machine": f"python -m pipeline run {bundle} {sample}",
            "this page again, from report.json": f"python -m pipeline report --run {page}",
        },
        hashes=_hashes(deployment),
    )


def _host_versions(deployment: Deployment) -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "host": f"{platform.system()} {platform.machine()}",
        "measuring protocol": str(protocol_version(deployment.request.target)),
    }


def _hashes(deployment: Deployment) -> dict[str, str]:
    """By what each is of: weights, data, the shipped file, and the run's own files."""
    run = deployment.run
    return {
        "trained weights": deployment.learned.checkpoint.description.weights_sha256,
        "data, every pixel, mask and split": deployment.network.source.fingerprint,
        "shipped file": deployment.bundle.manifest.artifact.sha256,
        **{name: sha256_path(run / name) for name in HASHED if (run / name).is_file()},
    }
