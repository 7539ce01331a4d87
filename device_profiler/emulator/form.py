"""What every form of an emulated phone offers."""

from pathlib import Path
from typing import Literal, Protocol

from device_profiler.emulator.host_tools import HostTools
from device_profiler.emulator.phone_profile import PhoneProfile

FormName = Literal["namespace", "vm", "proot"]


class Form(Protocol):
    """One way to run the phone's root image on this machine."""

    name: FormName
    owns_socket: bool
    """True where the supervisor listens and the phone inherits the socket; else the phone listens on {port}."""

    def obstacle(self) -> str | None:
        """Why this machine can't run this form, or None. Really tries what the form needs."""

    def prepare(self, folder: Path, profile: PhoneProfile, tools: HostTools) -> tuple[str, ...]:
        """Lay the phone out in `folder`; the command that runs it, with {listen} or {port} to be filled in."""
