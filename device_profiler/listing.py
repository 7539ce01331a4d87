"""What phones there are: emulated ones that run here, and those attached by USB or to a running adb server."""

from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import msgspec

from device_profiler.device import attached_phones, identify, matches, read_state
from device_profiler.emulator.registry import EmulatedPhone, list_phones
from device_profiler.errors import DeviceError
from device_profiler.leases import holder_elsewhere, holder_on_host
from device_profiler.measurement import DeviceIdentity
from device_profiler.standing import phone_key, standing_of
from device_profiler.targets import all_targets
from device_profiler.transport import Transport, connect

AT_ONCE = 16
Availability = Literal["free", "leased", "quarantined", "unreachable"]


class ListedDevice(msgspec.Struct, frozen=True):
    """One phone with the targets that it serves and its state.

    `problem` says why a phone could not be asked, `leased_by` who works on it (it is left alone then: `state` is
    empty), `quarantined` why it is set aside; `faults` are its infrastructure faults in a row. `form` is set for an
    emulated phone of this project's own.
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
    leased_by: str | None = None
    quarantined: str | None = None
    faults: tuple[str, ...] = ()
    availability: Availability = "free"


def list_devices() -> list[ListedDevice]:
    """Every phone that can be found without being told its address; emulated ones first."""
    phones: list[tuple[str, EmulatedPhone | None]] = [(phone.address, phone) for phone in list_phones()]
    phones += [(address, None) for address in attached_phones()]
    with ThreadPoolExecutor(AT_ONCE) as pool:  # one that does not answer must not hold up the others
        return list(pool.map(lambda found: describe(*found), phones))


def describe(address: str, phone: EmulatedPhone | None = None) -> ListedDevice:
    """The phone at `address` as it is now; `phone` where it is an emulated one of this project's."""
    form = phone.form if phone else None
    try:
        with connect(address) as transport:
            identity = identify(transport)
            leased_by = _leased_by(transport, identity)
            state = {} if leased_by else read_state(transport)
    except DeviceError as error:
        return ListedDevice(address, emulated=phone is not None, form=form, problem=str(error),
                            availability="unreachable")
    standing = standing_of(phone_key(identity))
    return ListedDevice(
        address, emulated=identity.emulated, model=identity.model, soc=identity.soc, android=identity.android,
        fingerprint=identity.fingerprint, form=form, state=state,
        targets=tuple(target.name for target in all_targets() if matches(identity, target)),
        leased_by=leased_by, quarantined=standing.quarantined, faults=standing.faults,
        availability="quarantined" if standing.quarantined else "leased" if leased_by else "free")


def _leased_by(transport: Transport, identity: DeviceIdentity) -> str | None:
    holder = holder_on_host(phone_key(identity)) or holder_elsewhere(transport)
    return holder.who if holder else None
