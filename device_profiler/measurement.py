"""One latency figure with everything that makes it worth trusting."""

from typing import Literal

import msgspec

Provenance = Literal["measured", "imported", "emulated", "predicted"]
"""measured: by us on a real phone; imported: by another tool on a real phone, from its report."""


class DeviceIdentity(msgspec.Struct, frozen=True):
    """Who the phone says it is (getprop), and how it was reached.

    `emulated` is what the phone declares, never read from its address.
    """

    address: str
    model: str
    soc: str
    abi: str
    android: str
    fingerprint: str
    emulated: bool
    clock: str
    """"virtual" where time is counted instructions, "unsteady" where noise or heat disturb these, else "wall"."""
    properties: dict[str, str] = {}


BlockVerdict = Literal["valid", "drifted", "off level", "unsettled"]


class Block(msgspec.Struct, frozen=True):
    """One entry's runs in one block, whatever became of it. `launch`, `block`: numbers from 0.

    `warmup_ns`: runs until they settled. `golden_*_ns`: the golden model before and after. `verdict`: "drifted", its
    golden medians differ by more than the protocol allows; "off level", they differ as much from the session's;
    "unsettled", the entry's warm-up never settled. Only a valid block's samples count.
    """

    launch: int
    block: int
    warmup_ns: tuple[int, ...]
    samples_ns: tuple[int, ...]
    golden_first_ns: tuple[int, ...]
    golden_last_ns: tuple[int, ...]
    verdict: BlockVerdict = "valid"


VerdictKind = Literal["PROVEN", "PLAUSIBLE", "REFUTED"]


class Verdict(msgspec.Struct, frozen=True):
    """Whether an accelerator really ran: see `verdict`. `reasons`: what speaks for it and against it, a line each.

    `emulated`: the phone was; such a verdict is about a stand-in.
    """

    kind: VerdictKind
    unit: str
    reasons: tuple[str, ...]
    emulated: bool = False

    def __str__(self) -> str:
        return f"{self.kind} ({'emulated ' if self.emulated else ''}{self.unit})"


class Measurement(msgspec.Struct, frozen=True):
    """Latency of one entry point (or cascade path) on one device.

    `key`: structure hash of a part, or artifact hash + entry of a whole. `samples_ns`: every timed run, or the one
    predicted figure. `median_ns`, `low_ns`, `high_ns`: median with its 95 % bootstrap interval over the samples (all
    equal on a virtual clock and for a prediction). `actual_unit`: the unit that really computed; where the provenance
    is "predicted", the times are the device model's for `requested_unit`, and `executed_ns` are the samples of the run
    on `actual_unit` that gave the outputs. `state_*`: battery, temperature, thermal status and clocks before and
    after. `versions`: runtime, runner, protocol, device model. `peak_rss_kb` is the emulator's process on an emulated
    phone. `overhead_ns`: the share of a predicted `median_ns` that is paid for each call, whatever it computes: parts
    that will be one program pay it once. `blocks`: every block that was run, void ones too; empty on a virtual clock.
    `verdict`: only where an accelerator was asked for and ran; a predicted figure has none.
    """

    key: str
    entry: str
    target: str
    requested_unit: str
    actual_unit: str
    provenance: Provenance
    samples_ns: tuple[int, ...]
    median_ns: float
    low_ns: float
    high_ns: float
    load_ns: int
    first_ns: int
    peak_rss_kb: int
    identity: DeviceIdentity
    state_before: dict[str, str]
    state_after: dict[str, str]
    versions: dict[str, str]
    note: str = ""
    executed_ns: tuple[int, ...] = ()
    overhead_ns: float = 0.0
    blocks: tuple[Block, ...] = ()
    verdict: Verdict | None = None
