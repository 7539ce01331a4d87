"""What every form of an emulated phone offers."""

from pathlib import Path
from typing import Literal, Protocol

from device_profiler.emulator.host_tools import HostTools
from device_profiler.emulator.phone_profile import PhoneProfile
from device_profiler.emulator.weather import Weather

FormName = Literal["namespace", "vm", "proot"]


class Form(Protocol):
    """One way to run the phone's root image on this machine."""

    name: FormName
    owns_socket: bool
    """True where the supervisor listens and the phone inherits the socket; else the phone listens on {port}."""
    has_weather: bool
    """Whether its clock can be disturbed."""

    def obstacle(self) -> str | None:
        """Why this machine can't run this form, or None. Really tries what the form needs."""

    def prepare(
        self, folder: Path, profile: PhoneProfile, tools: HostTools, weather: Weather | None = None
    ) -> tuple[str, ...]:
        """Lay the phone out in `folder`; the command that runs it, with {listen} or {port} to be filled in."""
