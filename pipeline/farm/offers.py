"""What a host offers: its phones that can be worked on now, and why the others can't."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from device_profiler.device import attached_phones
from device_profiler.emulator.registry import list_phones
from device_profiler.listing import AT_ONCE, ListedDevice, describe
from pipeline.farm.jobs import REAL


class Offer(msgspec.Struct, frozen=True):
    """One phone. `why_not`: what keeps it from being offered, empty where nothing does."""

    phone: str
    model: str = ""
    emulated: bool = False
    targets: tuple[str, ...] = ()
    why_not: str = ""

    @property
    def resources(self) -> dict[str, float]:
        """What the phone's worker offers: one seat for each of its targets (its one thread is shared by them)."""
        names = [*self.targets, *(() if self.emulated else (name + REAL for name in self.targets))]
        return dict.fromkeys(names, 1.0)


def look(phones: Sequence[str], busy: frozenset[str]) -> list[Offer]:
    """The phones at these addresses, else all at hand, but those in `busy`: they are not disturbed.

    Emulated phones are at hand where they were added to stay.
    """
    emulated = {phone.address: phone for phone in list_phones() if phone.shared or phone.address in phones}
    wanted = phones or (*emulated, *attached_phones())
    addresses = [address for address in wanted if address not in busy]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = pool.map(lambda address: describe(address, emulated.get(address)), addresses)
        return [_offer(one) for one in found]


def _offer(found: ListedDevice) -> Offer:
    why_not = ""
    if found.problem:
        why_not = found.problem
    elif found.quarantined:
        why_not = f"quarantined: {found.quarantined}"
    elif found.leased_by:
        why_not = f"leased by {found.leased_by}"
    elif not found.targets:
        why_not = f"no target is a {found.model}"
    return Offer(found.address, found.model, found.emulated, found.targets, why_not)
