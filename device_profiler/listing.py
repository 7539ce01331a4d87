"""What phones there are: emulated ones that run here, and those attached by USB."""

import msgspec

from device_profiler.device import identify, matches, read_state
from device_profiler.emulator.registry import EmulatedPhone, list_phones
from device_profiler.errors import DeviceError
from device_profiler.links import attached_serials
from device_profiler.targets import all_targets
from device_profiler.transport import connect


class ListedDevice(msgspec.Struct, frozen=True):
    """One phone with the targets that it serves and its state; `problem` says why a phone could not be asked.

    `form` is set for an emulated phone of this project's own.
    """

    address: str
    emulated: bool
    model: str = ""
    soc: str = ""
    android: str = ""
    fingerprint: str = ""
    form: str | None = None
    targets: tuple[str, ...] = ()
    state: dict[str, str] = {}
    problem: str | None = None


def list_devices() -> list[ListedDevice]:
    """Every phone that can be found without being told its address; emulated ones first."""
    found = [describe(phone.address, phone) for phone in list_phones()]
    return found + [describe(serial) for serial in attached_serials()]


def describe(address: str, phone: EmulatedPhone | None = None) -> ListedDevice:
    """The phone at `address` as it is now; `phone` where it is an emulated one of this project's."""
    form = phone.form if phone else None
    try:
        with connect(address) as transport:
            identity = identify(transport)
            state = read_state(transport)
    except DeviceError as error:
        return ListedDevice(address, emulated=phone is not None, form=form, problem=str(error))
    return ListedDevice(
        address, emulated=identity.emulated, model=identity.model, soc=identity.soc, android=identity.android,
        fingerprint=identity.fingerprint, form=form, state=state,
        targets=tuple(target.name for target in all_targets() if matches(identity, target)))
