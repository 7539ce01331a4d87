"""What a phone itself tells about its accelerator: inference counters and power rails, read before and after runs.

Rails after Pixel's power HAL, hardware/google/pixel powerstats/PowerStatsAidl.cpp, dumpEnergyMeter(): lines
`  %32s   %14.2f mWs` with channels as `[RAIL]:SUBSYSTEM`. Android's own `dumpsys powerstats` (PowerStatsService.java)
lists the channels without their energies, so the HAL is asked. Other makers' phones have neither: then both are absent.
"""

import re
from dataclasses import dataclass, field

from device_profiler.targets import Unit
from device_profiler.transport import Transport

COUNTERS: dict[Unit, str] = {"npu": "/sys/class/edgetpu/edgetpu-soc/device/inference_count"}
"""Files that count what a unit ran; several numbers are those of several of its cores."""
_SUBSYSTEMS: dict[Unit, str] = {"npu": "TPU", "gpu": "GPU"}
_POWER_HAL = "dumpsys android.hardware.power.stats.IPowerStats/default"
_TITLE = r"PowerStats HAL 2\.0 energy meter"
_METER = re.compile(rf"{_TITLE} =+\n(.*?)\n=+ End of {_TITLE}", re.DOTALL)
_CHANNEL = re.compile(r"^\s*\[(?P<rail>[^\]]+)\]:(?P<subsystem>\S+)\s+(?P<energy>\d+\.\d+) mWs", re.MULTILINE)
_MARK = "__next__"
_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Reading:
    """One look. `uptime_s`: the phone's; `inferences`: the unit's counter, or None; `rails_mj`: energy by rail."""

    uptime_s: float
    inferences: int | None = None
    rails_mj: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Growth:
    """Between two readings: seconds, inferences (None where not counted), energy by rail [mJ]."""

    seconds: float = 0.0
    inferences: int | None = None
    rails_mj: dict[str, float] = field(default_factory=dict)

    def __add__(self, other: "Growth") -> "Growth":
        counts = [growth.inferences for growth in (self, other) if growth.inferences is not None]
        rails = {
            rail: self.rails_mj.get(rail, 0.0) + other.rails_mj.get(rail, 0.0)
            for rail in {**self.rails_mj, **other.rails_mj}
        }
        return Growth(self.seconds + other.seconds, sum(counts) if counts else None, rails)


def growth(before: Reading, after: Reading) -> Growth:
    """What happened in between; a rail or counter that was not told both times is left out."""
    counted = None
    if before.inferences is not None and after.inferences is not None:
        counted = after.inferences - before.inferences
    common = before.rails_mj.keys() & after.rails_mj.keys()
    rails = {rail: after.rails_mj[rail] - before.rails_mj[rail] for rail in sorted(common)}
    return Growth(after.uptime_s - before.uptime_s, counted, rails)


def read_witness(transport: Transport, unit: Unit) -> Reading:
    """Counter and rails of `unit` right now, as far as the phone tells them to its shell."""
    counter = COUNTERS.get(unit, "/dev/null")
    output = transport.shell(
        f"cat /proc/uptime; echo {_MARK}; cat {counter} 2>/dev/null; echo {_MARK}; {_POWER_HAL} 2>/dev/null; true",
        timeout_s=_TIMEOUT_S,
    ).output
    uptime, count, power = ([*output.split(_MARK), "", ""])[:3]
    numbers = count.split()
    counted = sum(map(int, numbers)) if numbers and all(number.isdigit() for number in numbers) else None
    seconds = re.match(r"\s*(\d+(?:\.\d+)?)", uptime)
    return Reading(float(seconds[1]) if seconds else 0.0, counted, parse_rails(power, unit))


def parse_rails(text: str, unit: Unit) -> dict[str, float]:
    """Energies [mJ] of the rails that feed `unit`, out of the power HAL's dump; empty where it tells none."""
    meter = _METER.search(text.replace("\r\n", "\n"))
    wanted = _SUBSYSTEMS.get(unit)
    if meter is None or wanted is None:
        return {}
    return {
        found["rail"]: float(found["energy"])
        for found in _CHANNEL.finditer(meter[1])
        if found["subsystem"].upper() == wanted
    }
