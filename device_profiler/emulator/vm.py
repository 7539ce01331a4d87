"""The form that needs nothing of the kernel: a virtual machine, all in one process of qemu-system-aarch64.

Its clock counts instructions, one a nanosecond (-icount), scaled to the profile's mean instruction for pushed programs:
coarser than the other forms' clock, which weighs instructions by class. /data lies in memory.
"""

import shutil
from importlib import resources
from pathlib import Path

from device_profiler import debian, toolchain
from device_profiler.emulator.caching import built_once
from device_profiler.emulator.form import FormName
from device_profiler.emulator.host_tools import HostTools, loader_name
from device_profiler.emulator.initrd import write_initrd
from device_profiler.emulator.namespace import copy_root
from device_profiler.emulator.phone_profile import PhoneProfile
from device_profiler.emulator.proot import add_phone_init
from device_profiler.emulator.root_image import ADBD, SHIM
from device_profiler.emulator.weather import Weather
from device_profiler.errors import DeviceError, PipelineError
from device_profiler.files import cache_folder

SUITE = "bookworm"
KERNEL_PACKAGE = "linux-image-cloud-arm64"
MEMORY_MB = 2048
COUNTED_CLOCK = "counted"
# In the order in which they need one another.
_MODULES = ("virtio", "virtio_ring", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "failover",
            "net_failover", "virtio_net")
_SOURCES = Path(str(resources.files("device_profiler.emulator")))


class VmForm:
    """See the module."""

    name: FormName = "vm"
    owns_socket = False
    has_weather = False

    def obstacle(self) -> str | None:
        try:
            _qemu()
            _kernel()
        except PipelineError as error:
            return str(error)
        return None

    def prepare(
        self, folder: Path, profile: PhoneProfile, tools: HostTools, weather: Weather | None = None
    ) -> tuple[str, ...]:
        root = copy_root(folder, profile, tools, self.name, COUNTED_CLOCK)
        kernel = _kernel()
        shutil.copytree(kernel / "modules", root / "vendor/modules")
        add_phone_init(root)
        shutil.copy(_SOURCES / "vm_init.sh", root / "init")
        (root / "init").chmod(0o755)
        _add_clock(root, profile)
        write_initrd(root, folder / "initrd.gz")
        shutil.rmtree(root)
        arguments = f"rdinit=/init quiet panic=-1 console=ttyAMA0 NAME={profile.name} ADBD={ADBD} SHIM={SHIM}"
        return (*_qemu(), "-M", "virt", "-cpu", profile.qemu_cpu, "-accel", "tcg,thread=single", "-smp", "1",
                "-icount", "shift=0,sleep=on", "-m", str(MEMORY_MB), "-nographic", "-monitor", "none", "-no-reboot",
                "-kernel", str(kernel / "vmlinuz"), "-initrd", str(folder / "initrd.gz"), "-append", arguments,
                "-netdev", "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:5555",
                "-device", "virtio-net-pci,netdev=net,romfile=")


def _add_clock(root: Path, profile: PhoneProfile) -> None:
    """Scale what pushed programs read from the clock."""
    shim = toolchain.cross_compiler().compile([_SOURCES / "clock_scale.c"], "libclock_scale.so", language="c",
                                              flags=["-O2", "-shared", "-fPIC"])
    shutil.copy(shim, root / "usr/lib/libclock_scale.so")
    (root / "system/etc/ld.so.preload").write_text("/usr/lib/libclock_scale.so\n")
    (root / "vendor/etc/emulator/clock_factor").write_text(f"{round(profile.clock.mean_ns() * 1e6)}\n")


def _qemu() -> tuple[str, ...]:
    """qemu-system-aarch64: the installed one, else Debian's, unpacked (41 MB of download), on its own libraries."""
    if installed := shutil.which("qemu-system-aarch64"):
        return (installed,)
    tree = debian.fetch(["qemu-system-arm"], suite=SUITE)
    places = [place for pattern in ("usr/lib/*-linux-gnu", "lib/*-linux-gnu", "usr/lib/*-linux-gnu/pulseaudio")
              for place in sorted(tree.glob(pattern))]
    loader = next(place / loader_name() for place in places if (place / loader_name()).exists())
    return (str(loader), "--library-path", ":".join(map(str, places)), str(tree / "usr/bin/qemu-system-aarch64"),
            "-L", str(tree / "usr/share/qemu"))


def _kernel() -> Path:
    """Folder with Debian's cloud kernel (21 MB of download) as vmlinuz, and modules/ numbered in loading order."""
    return built_once(cache_folder("emulator", "kernels") / SUITE, _gather_kernel)


def _gather_kernel(folder: Path) -> None:
    names = debian.direct_dependencies(KERNEL_PACKAGE, suite=SUITE, architecture="arm64")
    images = [name for name in names if name.startswith("linux-image-")]
    if not images:
        raise DeviceError(f"Debian {SUITE}'s {KERNEL_PACKAGE} names no kernel (it depends on {', '.join(names)})")
    tree = debian.fetch(images, suite=SUITE, architecture="arm64", dependencies=False)
    shutil.copy(next(tree.glob("boot/vmlinuz-*")), folder / "vmlinuz")
    (folder / "modules").mkdir()
    for index, name in enumerate(_MODULES):
        for module in tree.rglob(f"{name}.ko"):  # what the kernel has built in is not there
            shutil.copy(module, folder / "modules" / f"{index}-{name}.ko")
