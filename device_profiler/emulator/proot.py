"""The form for machines without user namespaces: PRoot traces the phone's programs, which qemu-user runs.

Wants only that a process may trace its children. Slower in system calls than the namespace form, same clock; the phone
sees the processes of this machine.
"""

import shutil
import subprocess
from importlib import resources
from pathlib import Path

from device_profiler import debian
from device_profiler.emulator.form import FormName
from device_profiler.emulator.host_tools import HostTools, loader_name
from device_profiler.emulator.namespace import copy_root
from device_profiler.emulator.phone_profile import PhoneProfile
from device_profiler.emulator.root_image import ADBD, SHIM
from device_profiler.emulator.weather import Weather
from device_profiler.errors import PipelineError

# 5.4: the first version found to trace qemu without fault.
SUITE = "sid"
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts")


class ProotForm:
    """See the module."""

    name: FormName = "proot"
    owns_socket = True
    has_weather = True

    def obstacle(self) -> str | None:
        try:
            done = subprocess.run([*_proot(), "-r", "/", "/bin/true"], capture_output=True, text=True, timeout=60)
        except PipelineError as error:
            return str(error)
        except subprocess.TimeoutExpired:
            return "PRoot did not run a program within 60 s"
        if done.returncode == 0:
            return None
        return f"PRoot can't trace a program here ({(done.stderr.strip().splitlines() or ['no message'])[-1]})"

    def prepare(
        self, folder: Path, profile: PhoneProfile, tools: HostTools, weather: Weather | None = None
    ) -> tuple[str, ...]:
        root = copy_root(folder, profile, tools, self.name, weather=weather)
        tools.write_arguments(root / "vendor/etc/emulator", profile, seen_as="/emu", weather=weather)
        add_phone_init(root)
        (folder / "temporary").mkdir()
        binds = [f"{tools.folder}:/emu", "/proc", f"{root / 'vendor/etc/cpuinfo'}:/proc/cpuinfo"]
        binds += [f"/dev/{name}" for name in _DEVICES if Path("/dev", name).exists()]
        # Option -q shows the phone the whole file system of this machine; the bind behind it hides all but the
        # interpreter.
        interpreter = tools.interpreter.resolve()  # PRoot looks behind links: the cache may lie behind one
        binds_after = [f"{_view(folder, interpreter)}:/host-rootfs"]
        return (*_proot(folder / "temporary"), "--kill-on-exit", "-0", "-r", str(root), "-w", "/",
                *(part for bind in binds for part in ("-b", bind)), "-q", str(interpreter),
                *(part for bind in binds_after for part in ("-b", bind)),
                "/system/bin/sh", "/vendor/etc/phone_init.sh", "acceptfd:{listen}", ADBD, SHIM)


def add_phone_init(root: Path) -> None:
    """Put the script that keeps adbd running into the phone."""
    shutil.copy(str(resources.files("device_profiler.emulator").joinpath("phone_init.sh")), root / "vendor/etc")


def _proot(temporary: Path | None = None) -> tuple[str, ...]:
    """PRoot as Debian ships it, unpacked (3 MB of download) and run by its own loader on its own libraries."""
    tree = debian.fetch(["proot"], suite=SUITE)
    libraries = next(path.parent for path in tree.rglob(loader_name()) if not path.is_symlink())
    # Without seccomp: its fast path misses system calls of a traced emulator.
    variables = ["PROOT_NO_SECCOMP=1", *([f"PROOT_TMP_DIR={temporary}"] if temporary else [])]
    return ("env", "-i", *variables, f"{libraries / loader_name()}", "--library-path", str(libraries),
            str(tree / "usr/bin/proot"))


def _view(folder: Path, interpreter: Path) -> Path:
    """Folder that holds nothing but the interpreter, under its path on this machine."""
    view = folder / "view"
    copy = view / interpreter.relative_to("/")
    copy.parent.mkdir(parents=True)
    shutil.copy(interpreter, copy)
    return view
