"""The default form: the phone in namespaces of its own, its programs run by qemu-user through a private binfmt_misc.

Wants user namespaces for this user and a kernel of 6.7 or newer; no privileges.
"""

import shutil
import subprocess
import tempfile
from importlib import resources
from pathlib import Path

from device_profiler.emulator.form import FormName
from device_profiler.emulator.host_tools import HostTools
from device_profiler.emulator.phone_profile import PhoneProfile
from device_profiler.emulator.root_image import ADBD, SHIM, build_properties, root_image
from device_profiler.emulator.weather import FOLDER, Weather

_UNSHARE = ("unshare", "--user", "--map-root-user", "--mount", "--pid", "--net", "--uts", "--ipc", "--fork",
            "--kill-child")
_PROBE = "mount -t binfmt_misc none $0 && echo kernel && mount -t proc none $0 && mount -t tmpfs none $0 && echo done"


# Instructions by class x cycles, by the clock plugin.
WEIGHTED_CLOCK = "weighted"


class NamespaceForm:
    """See the module."""

    name: FormName = "namespace"
    owns_socket = True
    has_weather = True

    def obstacle(self) -> str | None:
        if not shutil.which("unshare"):
            return "no `unshare` (package util-linux)"
        with tempfile.TemporaryDirectory() as folder:
            try:
                done = subprocess.run([*_UNSHARE, "sh", "-c", _PROBE, folder], capture_output=True, text=True,
                                      timeout=30)
            except subprocess.TimeoutExpired:
                return "unshare did not answer within 30 s"
        if done.stdout.split() == ["kernel", "done"]:
            return None
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        if "unshare" in reason:
            return f"user namespaces are not allowed here ({reason})"
        if "kernel" not in done.stdout:
            return f"the kernel has no binfmt_misc of its own for a user namespace: 6.7 or newer is needed ({reason})"
        return f"mounting inside a user namespace is not allowed here ({reason})"

    def prepare(
        self, folder: Path, profile: PhoneProfile, tools: HostTools, weather: Weather | None = None
    ) -> tuple[str, ...]:
        root = copy_root(folder, profile, tools, self.name, weather=weather)
        (folder / "binfmt").mkdir()
        tools.write_arguments(root / "vendor/etc/emulator", profile, seen_as="/emu", weather=weather)
        init = str(resources.files("device_profiler.emulator").joinpath("namespace_init.sh"))
        return (*_UNSHARE, "sh", init, str(folder), str(tools.interpreter), "{listen}", profile.name, ADBD, SHIM)


def copy_root(folder: Path, profile: PhoneProfile, tools: HostTools, form: FormName,
              clock_model: str = WEIGHTED_CLOCK, weather: Weather | None = None) -> Path:
    """The phone's own copy of its root image: everything in it may be written to."""
    root = folder / "root"
    shutil.copytree(root_image(profile, tools), root, symlinks=True)
    clock = "virtual"
    if weather:
        clock, clock_model = "unsteady", f"{clock_model}+{weather.digest()}"
        for name, content in weather.files():
            (root / FOLDER / name).write_text(content)
    properties = build_properties(profile, form, clock, clock_model, folder.name.upper())
    (root / "system/build.prop").write_text(properties)
    return root
