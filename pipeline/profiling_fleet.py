"""The parts of one network on several phones at once: exported once, then all of them on each phone."""

from pathlib import Path

from device_profiler.device import Device, tell_units_apart
from device_profiler.fleet import Fleet, PhoneResult, run_on_each
from device_profiler.store import Store
from pipeline.profiling import Profile, ProfileRequest, export_parts, known_parts, plan_parts, run_parts


def profile_fleet(request: ProfileRequest, fleet: Fleet) -> list[PhoneResult[Profile]]:
    """A profile from every phone, or the error that stopped it there, in the fleet's order.

    Every phone measures every part that the store lacks for it: a table whose rows come from several phones would
    mix their silicon and their batteries. Real phones of one model are told apart in the store here.

    Raises:
        VerificationError: a part did not export.
    """
    for device in fleet.devices:
        tell_units_apart(device)
    parts = plan_parts(request)
    with Store(request.store) as store:
        wanted = {entry for device in fleet.devices for entry in parts.missing(known_parts(parts, device, store))}
    exported = export_parts(parts, [entry for entry in parts.programs if entry in wanted]) if wanted else None

    def on_phone(device: Device) -> Profile:
        with Store(request.store) as store:
            known = known_parts(parts, device, store)
            missing = parts.missing(known)
            if missing and exported:
                known |= run_parts(exported, missing, device, store)
            return parts.profile(known)

    return run_on_each(fleet, on_phone)


def table_place(run: Path, device: Device) -> Path:
    """Where the latency table of one phone of several lies in a run folder."""
    return run / "phones" / device.key / "latency.json"
