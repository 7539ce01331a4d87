"""A phone to work on: which one it is, what state it is in, and how `--device` chooses it."""

import logging
import re
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import msgspec

from device_profiler.adb_server import server_phones
from device_profiler.emulator.phone import start_phone, stop_phone
from device_profiler.emulator.phone_profile import load_profile
from device_profiler.emulator.registry import EmulatedPhone, list_phones
from device_profiler.errors import DeviceError, UnavailableError
from device_profiler.leases import Lease, LeasedTransport, take
from device_profiler.links import attached_serials
from device_profiler.measurement import DeviceIdentity, Provenance
from device_profiler.phone_settings import tidy
from device_profiler.standing import check_standing, note_end, phone_key
from device_profiler.targets import Target
from device_profiler.transport import Transport, connect

log = logging.getLogger(__name__)

AUTO = "auto"
EMULATED = "emulated"
QUERY_TIMEOUT_S = 60.0
_KEPT_PROPERTIES = ("ro.product.", "ro.soc.", "ro.build.", "ro.board.", "ro.hardware", "ro.mess.", "ro.serialno",
                    "ro.kernel.qemu", "ro.boot.qemu")
_MARK = "__next__"


def identify(transport: Transport) -> DeviceIdentity:
    """Who the phone says it is.

    The fingerprint of an emulated phone names its profile and its clock as well: figures of differing clocks are
    never taken for one another. Android's own emulator declares itself too; its clock is the wall's.

    Raises:
        DeviceError: the phone gave no properties.
    """
    result = transport.shell("getprop", timeout_s=QUERY_TIMEOUT_S)
    found = dict(re.findall(r"^\[([^\]]+)\]: \[(.*)\]\r?$", result.output, re.MULTILINE))
    if not found:
        told = result.output.strip()[:80]
        raise DeviceError(f"{transport.address} gave no properties (`getprop` answered {told!r}): "
                          f"it is no Android phone")
    ours = found.get("ro.mess.emulated") == "1"
    fingerprint = found.get("ro.build.fingerprint", "unknown")
    if ours:
        fingerprint += f" emulated:{found.get('ro.mess.profile')}:{found.get('ro.mess.clock.model')}"
    return DeviceIdentity(
        address=transport.address, model=found.get("ro.product.model", "unknown"),
        soc=found.get("ro.soc.model") or found.get("ro.board.platform", "unknown"),
        abi=found.get("ro.product.cpu.abi", "unknown"), android=found.get("ro.build.version.release", "unknown"),
        fingerprint=fingerprint, emulated=ours or "1" in (found.get("ro.kernel.qemu"), found.get("ro.boot.qemu")),
        clock=found.get("ro.mess.clock", "wall"),
        properties={key: value for key, value in sorted(found.items()) if key.startswith(_KEPT_PROPERTIES)})


def read_state(transport: Transport) -> dict[str, str]:
    """Battery, heat and clocks right now; what the phone does not tell is left out.

    Keys: battery_level [%], battery_temperature [degrees Celsius], plugged (ac, usb, wireless, dock or no),
    thermal_status (0 none to 6 shutdown), cpu_khz (current frequency of each core, in the cores' order).
    """
    output = transport.shell(
        f"dumpsys battery; echo {_MARK}; dumpsys thermalservice; echo {_MARK}; "
        "cat /sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq 2>/dev/null", timeout_s=QUERY_TIMEOUT_S).output
    battery, thermal, clocks = ([*output.split(_MARK), "", ""])[:3]
    khz = ",".join(re.findall(r"\d+", clocks))
    state = {"battery_level": _field(battery, r"level: (\d+)"), "plugged": _plugged(battery),
             "battery_temperature": _celsius(_field(battery, r"temperature: (-?\d+)")),
             "thermal_status": _field(thermal, r"Thermal Status: (\d+)"), "cpu_khz": khz}
    return {key: value for key, value in state.items() if value}


def _field(text: str, pattern: str) -> str:
    found = re.search(rf"^\s*{pattern}\s*$", text, re.MULTILINE)
    return found[1] if found else ""


def _celsius(tenths: str) -> str:
    return f"{int(tenths) / 10:.1f}" if tenths else ""


def _plugged(battery: str) -> str:
    sources = re.findall(r"^\s*(AC|USB|Wireless|Dock) powered: true\s*$", battery, re.MULTILINE)
    return "+".join(source.lower() for source in sources) or ("no" if "powered:" in battery else "")


@dataclass
class Device:
    """A phone chosen for a target, connected. As a context manager it gives the phone back, and stops one it started.

    `warning` is to be shown with every figure taken on it, or None. `emulated_phone` is set where this process
    started it. `lease`: nobody else works on the phone meanwhile. How the block ends is noted: three infrastructure
    faults in a row, or a drifting golden model, set the phone aside (see device_profiler.standing).
    """

    transport: Transport
    identity: DeviceIdentity
    warning: str | None = None
    emulated_phone: EmulatedPhone | None = None
    keep: bool = False
    lease: Lease | None = None

    @property
    def key(self) -> str:
        """The phone's name on this host, however it is reached."""
        return phone_key(self.identity)

    @property
    def provenance(self) -> Provenance:
        """What a CPU time taken here is: read from the phone's own declaration, never from its address."""
        return "emulated" if self.identity.emulated else "measured"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._note(error)
        self.close()

    def _note(self, error: BaseException | None) -> None:
        """What this visit says of the phone; a visit by token is its holder's to judge."""
        if self.lease and not self.lease.shared:
            note_end(self.key, error)

    def close(self) -> None:
        """Give the lease back, close the connection, stop the emulated phone where this device started it."""
        lease, self.lease = self.lease, None
        if lease:
            lease.release(self.transport)
        self.transport.close()
        started, self.emulated_phone = self.emulated_phone, None
        if started and not self.keep and started in list_phones():
            stop_phone(started.address)


def open_device(requested: str, target: Target, *, require_device: bool = False, keep: bool = False,
                lease_token: str | None = None) -> Device:
    """The phone that `--device requested` means for `target`, under a lease: auto, emulated, SERIAL or HOST:PORT.

    auto takes an attached phone that matches the target and is free, else an emulated one with a warning. An emulated
    phone that was added with `devices add` is used again; one started here ends with the device, or with this process
    at the latest, unless `keep`. `lease_token`: of the process that holds the phone already, for one that works for it.

    Raises:
        DeviceError: the phone is absent, is another model than the target's, or is an emulated one where
            `require_device` forbids that.
        UnavailableError: somebody else has the phone (says who), or it is set aside (says why).
        InputError: malformed address.
    """
    if requested == EMULATED:
        if require_device:
            raise DeviceError(f"--require-device forbids the emulated phone, --device {EMULATED} asks for it; drop one")
        return _open_emulated(target, None, keep)
    if requested == AUTO:
        return _open_attached(target, require_device, keep)
    device = connect_device(requested)
    try:
        _check(device.identity, target, require_device)
        return hold(device, lease_token)
    except DeviceError:
        device.close()
        raise


def attached_phones() -> tuple[str, ...]:
    """Addresses of the phones on USB and of those that a running adb server lists; our own emulated ones are not."""
    ours = {phone.address for phone in list_phones()}
    return tuple(sorted({*attached_serials(), *(phone.serial for phone in server_phones())} - ours))


def matches(identity: DeviceIdentity, target: Target) -> bool:
    """Whether the phone reports the properties by which the target's phones are recognised; Apple's have none."""
    wanted = target.properties
    return bool(wanted) and all(identity.properties.get(key) == value for key, value in wanted.items())


def tell_units_apart(device: Device) -> None:
    """Emulated phones of one profile are the same phone; real ones are not."""
    if not device.identity.emulated:
        fingerprint = f"{device.identity.fingerprint} unit:{device.key}"
        device.identity = msgspec.structs.replace(device.identity, fingerprint=fingerprint)


def hold(device: Device, token: str | None = None, *, even_set_aside: bool = False) -> Device:
    """`device` under a lease of its own, or under that of `token`'s holder.

    Raises:
        UnavailableError: somebody else has the phone, or it is set aside (unless `even_set_aside`: for a self-test).
    """
    if not even_set_aside:
        check_standing(device.key, device.identity.address)
    device.lease = take(device.transport, device.identity, token=token)
    device.transport = LeasedTransport(device.transport, device.lease)
    if not device.lease.shared:
        tidy(device.transport)
    return device


def connect_device(address: str) -> Device:
    """The phone at `address`, whatever it is, under no lease yet.

    Raises:
        DeviceError: it is absent, or no Android phone.
        InputError: malformed address.
    """
    transport = connect(address)
    try:
        return Device(transport, identify(transport))
    except DeviceError:
        transport.close()
        raise


def _check(identity: DeviceIdentity, target: Target, require_device: bool) -> None:
    if not matches(identity, target):
        wanted = ", ".join(f"{key} = {value!r}" for key, value in target.properties.items())
        raise DeviceError(f"{identity.address} is a {identity.model} ({identity.soc}), target {target.name} wants "
                          f"{wanted}; choose another --device, or the target of this phone (see `targets`)")
    if require_device and identity.emulated:
        raise DeviceError(f"{identity.address} is an emulated {identity.model}, which --require-device forbids; attach "
                          f"a {target.device} or drop --require-device")


def _open_attached(target: Target, require_device: bool, keep: bool) -> Device:
    passed_over = []
    for serial in attached_phones():
        try:
            device = connect_device(serial)
        except DeviceError as error:
            passed_over.append(str(error))
            continue
        if matches(device.identity, target) and not (require_device and device.identity.emulated):
            try:
                return hold(device)
            except UnavailableError as error:
                passed_over.append(str(error))
        else:
            passed_over.append(f"{serial} is a {device.identity.model}")
        device.close()
    found = f" ({'; '.join(passed_over)})" if passed_over else ""
    if require_device:
        raise DeviceError(f"no {target.device} is attached{found}, and --require-device forbids the emulated one; "
                          f"attach one, or name it with --device SERIAL or HOST:PORT")
    warning = (f"no {target.device} is attached{found}: an emulated one stands in for it; its CPU times are estimates "
               f"of a virtual clock, not measurements")
    return _open_emulated(target, warning, keep)


def _open_emulated(target: Target, warning: str | None, keep: bool) -> Device:
    if target.emulated is None:
        raise DeviceError(f"no {target.device} is attached, and there is no emulated one; attach one (--device SERIAL "
                          f"or HOST:PORT), or choose the target of a phone that can be emulated, as pixel7-cpu")
    wanted = load_profile(target.emulated)
    for phone in list_phones():
        if phone.profile == wanted.name and phone.shared:
            device = connect_device(phone.address)
            steady = device.identity.clock == "virtual"
            if steady and device.identity.properties.get("ro.mess.profile") == wanted.identity():
                try:
                    hold(device)
                    log.info("using the running emulated %s at %s", wanted.title, phone.address)
                    device.warning = warning
                    return device
                except UnavailableError as error:
                    log.info("not the running emulated %s: %s", wanted.title, error)
            device.close()
    log.info("starting an emulated %s", wanted.title)
    phone = start_phone(wanted.name, keep=keep)
    try:
        device = hold(connect_device(phone.address))
    except BaseException:
        stop_phone(phone.address)
        raise
    device.warning, device.emulated_phone, device.keep = warning, phone, keep
    return device
