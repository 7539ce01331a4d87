"""Several phones at once: every one that is at hand for a target, each under its lease, one thread a phone."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Self, TypeVar

from device_profiler.device import Device, attached_phones, connect_device, hold, matches, open_device
from device_profiler.emulator.registry import list_phones
from device_profiler.errors import DeviceError, InputError, PipelineError
from device_profiler.outcomes import Ended, Outcome, attempt
from device_profiler.standing import note_end
from device_profiler.targets import Target

Result = TypeVar("Result")


@dataclass(frozen=True)
class Fleet:
    """Phones that were opened together; as a context manager it gives them all back.

    `passed_over`: why other phones at hand are not among them, a line each.
    """

    devices: tuple[Device, ...]
    passed_over: tuple[str, ...] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        with ExitStack() as stack:
            for device in self.devices:
                stack.callback(device.close)


@dataclass(frozen=True)
class PhoneResult(Generic[Result]):
    """How the job ended on one phone."""

    device: Device
    ended: Ended[Result]


def open_all(target: Target, *, require_device: bool = False) -> Fleet:
    """Every phone at hand that matches `target` and is free: attached ones, and emulated ones that were added to stay
    (unless `require_device`).

    Raises:
        DeviceError: there is none; says what was passed over.
    """
    emulated = [] if require_device else [phone.address for phone in list_phones() if phone.shared]
    devices: list[Device] = []
    passed_over: list[str] = []
    for address in (*attached_phones(), *emulated):
        try:
            device = connect_device(address)
        except DeviceError as error:
            passed_over.append(str(error))
            continue
        if refusal := _refusal(device, target, require_device):
            passed_over.append(refusal)
            device.close()
        else:
            devices.append(device)
    if not devices:
        told = "; ".join(passed_over) or "no phone is attached"
        emulated_too = f", or `devices add --emulated {target.emulated}`" if target.emulated else ""
        raise DeviceError(f"no phone for {target.name} is free: {told}; attach a {target.device}{emulated_too}")
    return Fleet(tuple(devices), tuple(passed_over))


def _refusal(device: Device, target: Target, require_device: bool) -> str | None:
    """Why the phone is not for this job; else it is ours."""
    identity = device.identity
    if not matches(identity, target):
        return f"{identity.address} is a {identity.model}, not a {target.device}"
    if require_device and identity.emulated:
        return f"{identity.address} is an emulated {identity.model}"
    try:
        hold(device)
    except DeviceError as error:
        return str(error)
    return None


def open_several(addresses: Sequence[str], target: Target, *, require_device: bool = False) -> Fleet:
    """The phones at these addresses; all of them, or none.

    Raises: as `device.open_device`; InputError also where an address is there twice.
    """
    if len(set(addresses)) < len(addresses):
        raise InputError(f"a phone is named twice: {', '.join(addresses)}; each --device is one phone")
    with ExitStack() as stack:
        devices = []
        for address in addresses:
            device = open_device(address, target, require_device=require_device)
            stack.callback(device.close)
            devices.append(device)
        stack.pop_all()
    return Fleet(tuple(devices))


def run_on_each(fleet: Fleet, job: Callable[[Device], Result]) -> list[PhoneResult[Result]]:
    """`job` on every phone at the same time; how it ended on each, in the fleet's order.

    What may help is tried again on the same phone: another one would not answer for it. Three infrastructure faults
    in a row set a phone aside, and end its tries.
    """

    def on_phone(device: Device) -> PhoneResult[Result]:
        def after_fault(outcome: Outcome, error: PipelineError) -> bool:
            return note_end(device.key, error).quarantined is None

        ended = attempt(lambda: job(device), after_fault=after_fault)
        if ended.outcome == "done":
            note_end(device.key, None)
        return PhoneResult(device, ended)

    with ThreadPoolExecutor(len(fleet.devices), thread_name_prefix="phone") as pool:
        return list(pool.map(on_phone, fleet.devices))
