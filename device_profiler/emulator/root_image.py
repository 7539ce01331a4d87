"""The phone's file system: Debian's arm64 adbd, mksh and toybox laid out like Android's, for one profile."""

import shutil
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from device_profiler import debian, toolchain
from device_profiler.emulator.caching import built_once
from device_profiler.emulator.host_tools import HostTools
from device_profiler.emulator.phone_profile import PhoneProfile
from device_profiler.files import cache_folder, sha256_bytes, sha256_path

SUITE = "trixie"
PACKAGES = ("adbd", "mksh", "toybox", "busybox-static")
ADBD = "/usr/lib/android-sdk/platform-tools/adbd"
SHIM = "/usr/lib/libproperty_shim.so"
_SOURCES = Path(str(resources.files("device_profiler.emulator")))
_BUSYBOX_COMMANDS = ("awk", "grep", "sed", "top", "sha256sum")
"""Not in toybox; sha256sum, which every push waits for, is several times faster under qemu."""
_UNWANTED = ("usr/share", "etc", "usr/lib/aarch64-linux-gnu/gconv", "usr/lib/systemd", "usr/lib/modules-load.d",
             "usr/lib/diet", "usr/lib/klibc", "usr/lib/aarch64-linux-musl", "usr/include")
_FOLDERS = ("system/bin", "system/etc", "vendor/bin", "vendor/etc/emulator", "data/local/tmp", "data/property",
            "storage/emulated/0", "proc", "dev", "sys", "tmp", "run", "emu")
# Cheap to find out: the runners ask for these before they choose kernels and threads.
_CPU_FEATURES = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"


def root_image(profile: PhoneProfile, tools: HostTools) -> Path:
    """Folder with the whole root of `profile`, built once (11 MB of download); copy it, don't write to it."""
    tree = debian.fetch(PACKAGES, suite=SUITE, architecture="arm64")
    shim = toolchain.cross_compiler().compile([_SOURCES / "property_shim.cpp"], "libproperty_shim.so",
                                              flags=["-O2", "-shared", "-fPIC"])
    key = sha256_bytes(f"{tree} {shim} {profile.digest()} {sha256_path(_SOURCES / 'android')}".encode(),
                       Path(__file__).read_bytes())[:16]
    return built_once(cache_folder("emulator", "roots") / f"{profile.name}-{key}",
                      lambda folder: _build(folder, tree, shim, profile, tools))


def _build(root: Path, tree: Path, shim: Path, profile: PhoneProfile, tools: HostTools) -> None:
    shutil.copytree(tree, root, symlinks=True, dirs_exist_ok=True)
    for name in _UNWANTED:
        shutil.rmtree(root / name, ignore_errors=True)
    for name in _FOLDERS:
        (root / name).mkdir(parents=True, exist_ok=True)
    for link, target in (("lib", "usr/lib"), ("bin", "system/bin"), ("etc", "system/etc"),
                         ("sdcard", "storage/emulated/0")):
        (root / link).symlink_to(target)
    for name in ("tmp", "data/local/tmp"):
        (root / name).chmod(0o1777)
    shutil.copy(shim, root / SHIM.lstrip("/"))
    _add_commands(root, tools)
    for path, content in _files(profile):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)


def _add_commands(root: Path, tools: HostTools) -> None:
    """Fill /system/bin: mksh as sh, toybox under its names, a few of busybox, the scripts of `android`."""
    commands = root / "system/bin"
    for source, name in (("mksh", "sh"), ("toybox", "toybox"), ("busybox", "busybox")):
        (root / "usr/bin" / source).rename(commands / name)
    shutil.rmtree(root / "usr/bin")
    (root / "usr/bin").mkdir()
    scripts = {path.stem: path for path in (_SOURCES / "android").glob("*.sh")}
    names = set(tools.run(root, "/system/bin/toybox").split()) | set(_BUSYBOX_COMMANDS)
    for name in names - scripts.keys():
        if not (commands / name).exists():
            (commands / name).symlink_to("busybox" if name in _BUSYBOX_COMMANDS else "toybox")
    for name, path in scripts.items():
        shutil.copy(path, commands / name)
        (commands / name).chmod(0o755)


def _files(profile: PhoneProfile) -> Iterator[tuple[str, str]]:
    """Every text file of the root that tells the phone from another one: path, content."""
    yield "system/etc/passwd", "root:x:0:0:root:/:/system/bin/sh\nshell:x:2000:2000:shell:/:/system/bin/sh\n"
    yield "system/etc/group", "root:x:0:\nshell:x:2000:\n"
    yield "vendor/etc/cpuinfo", _cpuinfo(profile)
    yield from _processor_files(profile)
    for index, zone in enumerate(profile.thermal):
        folder = f"sys/class/thermal/thermal_zone{index}"
        yield f"{folder}/type", f"{zone.name}\n"
        yield f"{folder}/temp", f"{round(zone.celsius * 1000)}\n"
        yield f"{folder}/android_type", f"{zone.kind}\n"
    battery = profile.battery
    for name, value in (("capacity", battery.level), ("temp", battery.temperature_decicelsius), ("status", "Charging"),
                        ("voltage_now", battery.voltage_millivolt * 1000), ("type", "Battery"),
                        ("charge_counter", battery.charge_microampere_hour)):
        yield f"sys/class/power_supply/battery/{name}", f"{value}\n"


def _processor_files(profile: PhoneProfile) -> Iterator[tuple[str, str]]:
    cores = profile.cores()
    folder = "sys/devices/system/cpu"
    for name in ("possible", "present", "online"):
        yield f"{folder}/{name}", f"0-{len(cores) - 1}\n"
    yield f"{folder}/kernel_max", f"{len(cores) - 1}\n"
    for index, core in enumerate(cores):
        yield f"{folder}/cpu{index}/cpu_capacity", f"{core.capacity}\n"
        yield f"{folder}/cpu{index}/online", "1\n"
        yield f"{folder}/cpu{index}/topology/core_id", f"{index}\n"
        yield f"{folder}/cpu{index}/topology/physical_package_id", "0\n"
        for name, value in (("cpuinfo_max_freq", core.max_khz), ("cpuinfo_min_freq", core.min_khz),
                            ("scaling_max_freq", core.max_khz), ("scaling_min_freq", core.min_khz),
                            ("scaling_cur_freq", core.max_khz), ("scaling_governor", "sched_pixel"),
                            ("scaling_available_governors", "sched_pixel performance powersave")):
            yield f"{folder}/cpu{index}/cpufreq/{name}", f"{value}\n"


def _cpuinfo(profile: PhoneProfile) -> str:
    return "".join(
        f"processor\t: {index}\nBogoMIPS\t: 49.15\nFeatures\t: {_CPU_FEATURES}\nCPU implementer\t: {core.implementer}\n"
        f"CPU architecture: 8\nCPU variant\t: {core.variant}\nCPU part\t: {core.part}\n"
        f"CPU revision\t: {core.revision}\n\n"
        for index, core in enumerate(profile.cores()))


def build_properties(profile: PhoneProfile, form: str, clock: str, clock_model: str, serial: str) -> str:
    """Content of build.prop: what the real phone says, and what declares this one emulated.

    `clock` is "virtual" where every run takes the same time, "unsteady" where noise or heat disturb it; `clock_model`
    names how time is counted: figures of one profile compare only where it is the same.
    """
    declared = {"ro.mess.emulated": "1", "ro.mess.form": form, "ro.mess.profile": profile.identity(),
                "ro.mess.clock": clock, "ro.mess.clock.model": clock_model, "ro.serialno": serial}
    return "".join(f"{key}={value}\n" for key, value in (profile.properties | declared).items())
