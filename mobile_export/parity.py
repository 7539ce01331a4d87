"""Does an artifact compute what eager PyTorch computes? Checked on real inputs, in a process of its own."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from device_profiler.errors import InputError, VerificationError
from device_profiler.workload import Array
from mobile_export.artifact import Artifact, EntryPoint, OutputParity, ParityReport, Port
from mobile_export.boundary import to_real, to_stored
from mobile_export.runtimes import NOT_RUNNABLE, checked_by
from mobile_export.session import HostSession
from mobile_export.worker import WorkerCrash

Samples = Mapping[str, Sequence[tuple[tuple[Array, ...], tuple[Array, ...]]]]
"""Per entry: pairs of real inputs and eager PyTorch's outputs, both in torch's layout (NCHW)."""


class Tolerance(msgspec.Struct, frozen=True):
    """What parity may cost.

    `max_error`, `mean_error`: absolute error of an output, as a share of that output's standard deviation over the
    samples (its own scale: logits and features have no natural unit). `confidence_error`: absolute, in 0..1, beside
    `confidence_flips` positions of the logits that rounding may move, where the confidence counts positions.
    `clear_agreement`: for logits, least share of pixels with eager PyTorch's label among those whose best class leads
    by more than CLEAR_MARGIN mean errors: how many pixels are near a tie is the network's doing, how many others lose
    their label is the export's. `map_agreement`: for label maps, in which ties can't be told, the same among all.
    """

    max_error: float
    mean_error: float
    confidence_error: float
    clear_agreement: float
    map_agreement: float
    confidence_flips: int = 0

    def as_dict(self) -> dict[str, float]:
        """By field name."""
        return msgspec.structs.asdict(self)


TOLERANCES: Mapping[str, Tolerance] = {
    # The same arithmetic in another order. Measured on EfficientNet-Lite0 at 256x256: 1e-4, 3e-6, 5e-7, 1.0.
    "fp32": Tolerance(1e-3, 1e-4, confidence_error=1e-4, clear_agreement=1.0, map_agreement=0.999),
    # Ten bits of fraction, rounded after every operation. Measured by the MIL evaluator likewise: 0.12, 0.0066.
    "fp16": Tolerance(0.5, 0.02, confidence_error=5e-3, clear_agreement=0.999, map_agreement=0.98),
    # 255 steps a channel of weights, arithmetic in fp16. Measured likewise: labels agree on 0.987 of the pixels, clear
    # ones on 0.9999, confidences within 0.0099.
    "w8": Tolerance(1.5, 0.08, confidence_error=0.03, clear_agreement=0.995, map_agreement=0.95),
    # 256 steps a tensor; single values outside the calibrated range may be far off, the mean may not.
    # Measured likewise: 2.9, 0.09, 0.006; label maps agree on 0.967 of the pixels at least, clear ones on 0.9997.
    "int8": Tolerance(8.0, 0.25, confidence_error=0.05, clear_agreement=0.99, map_agreement=0.92),
}
"""Acceptance by precision."""

CLEAR_MARGIN = 6.0
"""Mean errors by which the best class must lead for a pixel to be clear: about twice the largest usual error."""

Pairs = list[tuple[npt.NDArray[np.generic], npt.NDArray[np.generic]]]


def check_parity(artifact: Artifact, samples: Samples, tolerance: Tolerance | None = None) -> ParityReport:
    """Run every entry that has samples and compare each output; `tolerance` defaults to that of the precision.

    An artifact that nothing on this machine runs gets a report that says so, and has not passed.

    Raises:
        InputError: no samples.
        VerificationError: an output is outside the tolerance, or the runtime refused. Where it crashed, every entry
            that it crashed in is named; the others are checked all the same.
    """
    if not any(samples.values()):
        raise InputError("parity needs samples: inputs made of real images and eager PyTorch's outputs")
    allowed = tolerance or TOLERANCES[artifact.precision]
    if reason := NOT_RUNNABLE.get(artifact.runtime):
        return ParityReport((), allowed.as_dict(), passed=False, not_runnable=reason)
    compared, crashes = _check_entries(artifact, samples, allowed)
    failures = [*crashes, *(failure for _, failure in compared if failure)]
    if failures:
        raise VerificationError(f"{Path(artifact.path).name} differs from eager PyTorch: {'; '.join(failures[:3])}")
    found = tuple(parity for parity, _ in compared)
    return ParityReport(found, allowed.as_dict(), passed=True, checked_by=checked_by(artifact.runtime))


def _check_entries(
    artifact: Artifact, samples: Samples, allowed: Tolerance
) -> tuple[list[tuple[OutputParity, str | None]], list[str]]:
    """Every entry compared, and how those ended that took their process along: the others go on in a new one."""
    compared: list[tuple[OutputParity, str | None]] = []
    crashes: list[str] = []
    left = list(samples)
    while left:
        with HostSession(Path(artifact.path), artifact.runtime) as session:
            try:
                while left:
                    name = left.pop(0)
                    compared.extend(_check_entry(session, artifact.entry(name), samples[name], allowed))
            except WorkerCrash as crash:
                crashes.append(str(crash))
    return compared, crashes


def _check_entry(
    session: HostSession,
    entry: EntryPoint,
    samples: Sequence[tuple[tuple[Array, ...], tuple[Array, ...]]],
    allowed: Tolerance,
) -> list[tuple[OutputParity, str | None]]:
    collected: list[Pairs] = [[] for _ in entry.outputs]
    for inputs, expected in samples:
        stored = tuple(to_stored(port, value) for port, value in zip(entry.inputs, inputs, strict=True))
        outputs = session.run(entry.name, stored)
        for index, port in enumerate(entry.outputs):
            collected[index].append((to_real(port, outputs[index]), expected[index]))
    ports = zip(entry.outputs, collected, strict=True)
    return [_compare(entry, port, pairs, allowed) for port, pairs in ports]


def confidence_limit(entry: EntryPoint, allowed: Mapping[str, float]) -> float:
    """Largest error that an entry's confidence may have under a tolerance (`Tolerance.as_dict`)."""
    return allowed["confidence_error"] + allowed["confidence_flips"] * entry.confidence_step


def _compare(entry: EntryPoint, port: Port, pairs: Pairs, allowed: Tolerance) -> tuple[OutputParity, str | None]:
    for found, expected in pairs:
        if found.shape != expected.shape:
            where = f"{entry.name}.{port.spec.name}"
            raise VerificationError(f"{where} has shape {found.shape}, eager PyTorch {expected.shape}")
    errors = [np.abs(found.astype(np.float64) - expected.astype(np.float64)) for found, expected in pairs]
    agreement = _agreement(port, pairs)
    mean_error = float(np.mean([error.mean() for error in errors]))
    parity = OutputParity(
        entry=entry.name,
        output=port.spec.name,
        samples=len(pairs),
        max_abs_error=max(float(error.max()) for error in errors),
        mean_abs_error=mean_error,
        label_agreement=agreement,
        clear_agreement=_clear_agreement(port, pairs, CLEAR_MARGIN * mean_error),
    )
    return parity, _failure(parity, pairs, allowed, confidence_limit(entry, allowed.as_dict()))


def _agreement(port: Port, pairs: Pairs) -> float | None:
    """Share of pixels with equal labels; None for outputs that carry no labels (features, confidence)."""
    if port.spec.name == "labels":
        return float(np.mean([(found == expected).mean() for found, expected in pairs]))
    if port.spec.name == "logits":
        return float(np.mean([(found.argmax(1) == expected.argmax(1)).mean() for found, expected in pairs]))
    return None


def _clear_agreement(port: Port, pairs: Pairs, margin: float) -> float | None:
    """Share of equal labels among pixels whose best logit leads by more than `margin`; None where there are none."""
    if port.spec.name != "logits":
        return None
    equal: list[npt.NDArray[np.bool_]] = []
    for found, expected in pairs:
        second, best = np.partition(expected.astype(np.float64), -2, axis=1)[:, -2:].swapaxes(0, 1)
        equal.append((found.argmax(1) == expected.argmax(1))[best - second > margin])
    clear = np.concatenate(equal)
    return float(clear.mean()) if clear.size else None


def _failure(parity: OutputParity, pairs: Pairs, allowed: Tolerance, confidence_error: float) -> str | None:
    where = f"{parity.entry}.{parity.output}"
    if parity.output == "labels":
        agreement = parity.label_agreement
        assert agreement is not None
        if agreement >= allowed.map_agreement:
            return None
        return f"{where}: labels agree on {agreement:.4f} of the pixels, not {allowed.map_agreement}"
    if parity.clear_agreement is not None and not parity.clear_agreement >= allowed.clear_agreement:
        return (
            f"{where}: labels agree on {parity.clear_agreement:.4f} of the pixels whose best class leads clearly, not "
            f"{allowed.clear_agreement}"
        )
    if parity.output == "confidence":
        most, least = confidence_error, confidence_error
    else:
        scale = float(np.std(np.concatenate([expected.reshape(-1) for _, expected in pairs]))) or 1.0
        most, least = allowed.max_error * scale, allowed.mean_error * scale
    if not (parity.max_abs_error <= most and parity.mean_abs_error <= least):
        return (
            f"{where}: error {parity.max_abs_error:.3g} at most and {parity.mean_abs_error:.3g} on average, "
            f"allowed {most:.3g} and {least:.3g}"
        )
    return None
