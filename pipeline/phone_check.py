"""Does the phone compute what this machine computes? Outputs of the same file on both, and what ran there."""

from collections.abc import Sequence

import msgspec
import numpy as np

from device_profiler.errors import VerificationError
from device_profiler.runner.results import CascadeResult as OnPhone
from device_profiler.runner.results import EntryEvents
from device_profiler.workload import Array
from mobile_export.artifact import Artifact, EntryPoint
from mobile_export.session import CascadeResult as OnHost

FLOAT_ERROR = 1e-3
"""Largest difference between phone and host in standard deviations of the output: fp32 sums in other orders."""
MEAN_STEPS = 1.0
"""Mean difference of int8 outputs in quantisation steps: kernels of two processors round differently."""
LABEL_AGREEMENT = 0.99
"""Least share of pixels with the same label."""


class PhoneAgreement(msgspec.Struct, frozen=True):
    """How far an entry's outputs on the phone lie from the host's. `figure` says in what unit `value` is."""

    entry: str
    figure: str
    value: float
    limit: float
    at_most: bool
    samples: int = 1


def compare_outputs(
    entry: EntryPoint, phone: Sequence[Array], host: Sequence[Array], flips: int = 0
) -> list[PhoneAgreement]:
    """Agreement of every output of one entry; its confidence may miss `flips` positions more, where it counts them.

    Raises:
        VerificationError: an output is outside its limit, or has another shape.
    """
    rows = []
    for port, ours, theirs in zip(entry.outputs, phone, host, strict=True):
        where = f"{entry.name}.{port.spec.name}"
        if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
            raise VerificationError(
                f"{where} is {ours.dtype} {ours.shape} on the phone but {theirs.dtype} {theirs.shape} here"
            )
        counted = flips * entry.confidence_step if port.spec.name == "confidence" else 0.0
        row = _compare(where, ours, theirs, counted / port.quantization.scale if port.quantization else counted)
        if not (row.value <= row.limit if row.at_most else row.value >= row.limit):
            raise VerificationError(
                f"the phone computes something else than the host: {row.entry}: {row.figure} {row.value:.3g}, "
                f"limit {row.limit:g}"
            )
        rows.append(row)
    return rows


def compare_cascades(phone: Sequence[OnPhone], host: Sequence[OnHost]) -> tuple[PhoneAgreement, ...]:
    """Agreement of whole deployments over the same images: exits taken, and labels.

    Raises:
        VerificationError: an image left at another exit, or too many labels differ.
    """
    different = [index for index, (p, h) in enumerate(zip(phone, host, strict=True)) if p.exit != h.exit]
    if different:
        index = different[0]
        raise VerificationError(
            f"{len(different)} of {len(host)} images leave at another exit on the phone than on the host; the first "
            f"with confidences {phone[index].confidences} there and {host[index].confidences} here"
        )
    equal = [float((p.labels.reshape(-1) == h.labels.reshape(-1)).mean()) for p, h in zip(phone, host, strict=True)]
    agreement = sum(equal) / len(equal)
    if agreement < LABEL_AGREEMENT:
        raise VerificationError(
            f"the phone gives other labels than the host: {agreement:.4f} of the pixels agree, "
            f"{LABEL_AGREEMENT} must"
        )
    exits = PhoneAgreement("cascade.exits", "share of equal exits", 1.0, 1.0, False, len(host))
    return exits, PhoneAgreement(
        "cascade.labels", "share of equal labels", agreement, LABEL_AGREEMENT, False, len(host)
    )


def compare_delegation(artifact: Artifact, ran: Sequence[EntryEvents]) -> tuple[PhoneAgreement, ...]:
    """Every entry as it ran on the phone: its delegate was called, and beside it only what the export declared.

    Raises:
        VerificationError: a delegate was never called, or another kernel of the runtime computed.
    """
    rows = []
    for events in ran:
        entry = artifact.entry(events.entry)
        if not events.delegate_calls and entry.delegated_share:
            raise VerificationError(
                f"entry {entry.name!r} called no delegate on the phone, though {entry.delegated_share:.0%} of its "
                f"operators were given to one: the phone's runtime lacks it; export for what it has"
            )
        undeclared = sorted(set(events.kinds) - set(entry.host_side))
        if undeclared:
            raise VerificationError(
                f"entry {entry.name!r}: {', '.join(undeclared)} ran off the delegate on the phone, which the export "
                f"did not declare (it declared {', '.join(entry.host_side) or 'none'}): export anew with the versions "
                f"that the phone's runtime has"
            )
        figure, found = "undeclared kernels beside the delegate", float(len(undeclared))
        rows.append(PhoneAgreement(f"{entry.name}.delegate", figure, found, 0.0, True))
    return tuple(rows)


def _compare(where: str, phone: Array, host: Array, allowance: float) -> PhoneAgreement:
    """`allowance`: added to the limit, in the units of the output as stored."""
    if phone.dtype == np.int8:
        steps = np.abs(phone.astype(np.int32) - host.astype(np.int32))
        return PhoneAgreement(where, "mean difference in int8 steps", float(steps.mean()), MEAN_STEPS + allowance, True)
    if np.issubdtype(phone.dtype, np.integer):
        return PhoneAgreement(where, "share of equal labels", float((phone == host).mean()), LABEL_AGREEMENT, False)
    ours, theirs = phone.astype(np.float64), host.astype(np.float64)
    scale = float(np.std(theirs)) or 1.0
    return PhoneAgreement(
        where,
        "largest difference in standard deviations",
        float(np.abs(ours - theirs).max()) / scale,
        FLOAT_ERROR + allowance / scale,
        True,
    )
