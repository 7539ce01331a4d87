"""The disturbed clock of an emulated phone without the phone, to rehearse the measuring protocol in an instant.

The weather is the clock plugin's own code, called from here; only the counting of instructions is replaced, by the
calm time of each entry.
"""

import ctypes
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from statistics import fmean, pstdev

from device_profiler import toolchain
from device_profiler.emulator.host_tools import SOURCES
from device_profiler.emulator.weather import Weather
from device_profiler.runner.job import GOLDEN_VISIT, Settle
from device_profiler.runner.results import Visit
from device_profiler.sampling import BlockEffort, Visited

_COOLING_S = 10
_CODE = ("clock_weather.c", "clock_arguments.c")
_numbers = count()


@dataclass(frozen=True)
class Rehearsed:
    """A first run: see sampling.Timed."""

    first_ns: int
    load_ns: int = 0
    peak_rss_kb: int = 0
    samples_ns: tuple[int, ...] = ()


@dataclass
class Rehearsal:
    """One phone in a `weather`: entries that take `calm_ns` each on a calm, cool phone, and the golden model.

    `folder` holds its state. `cold`: how much longer the first run of a visit takes; half of that the next, and so on.
    """

    calm_ns: Sequence[int]
    golden_ns: int
    weather: Weather
    effort: BlockEffort
    folder: Path
    cold: float = 0.0
    launches: int = 0
    waited_s: int = 0
    _clock: ctypes.CDLL = field(init=False)
    _now_ns: int = 0

    def __post_init__(self) -> None:
        sources = [Path(str(SOURCES.joinpath(name))) for name in _CODE]
        library = toolchain.host_compiler().compile(
            sources, "clock_weather.so", flags=["-O2", "-shared", "-fPIC"], language="c"
        )
        # A copy of its own: the code keeps its state in the library.
        own = self.folder / f"clock-{next(_numbers)}.so"
        shutil.copy(library, own)
        self._clock = ctypes.CDLL(str(own))
        self._clock.weather_work.restype = ctypes.c_uint64
        self._clock.weather_work.argtypes = [ctypes.c_uint64]
        self._clock.weather_rest.argtypes = [ctypes.c_uint64]
        for name, content in self.weather.files():
            (self.folder / name).write_text(content)
        for argument in self.weather.plugin_arguments(state=str(self.folder / "weather")).strip(",").split(","):
            if not self._clock.weather_argument(argument.encode()):
                raise ValueError(argument)
        self._clock.weather_start()

    def ready(self) -> None:
        """The heat gate: wait until Android's thermal status would be none."""
        heat = self.weather.heat
        while heat and self.celsius >= heat.limits_c[0]:
            self._clock.weather_rest(_COOLING_S * 10**9)
            self.waited_s += _COOLING_S

    @property
    def celsius(self) -> float:
        """Temperature now."""
        self._clock.weather_keep()
        return int((self.folder / "weather").read_text().split()[1]) / 1000

    def launch(self, order: Sequence[int], visits: Sequence[int]) -> Visited[Rehearsed]:
        """See sampling.BlockLaunch."""
        self._clock.weather_start()
        self.launches += 1
        results = [Rehearsed(self._run(self.calm_ns[index], 0)) for index in order]
        calm = {place: self.calm_ns[index] for place, index in enumerate(order)} | {GOLDEN_VISIT: self.golden_ns}
        return Visited(results, [self._visit(calm[visit]) for visit in visits])

    def _visit(self, calm_ns: int) -> Visit:
        """As the runner does it: runs until they settle, then the timed ones."""
        start, warmup, settle = self._now_ns, list[int](), self.effort.settle
        while len(warmup) < settle.most and not _settled(warmup, settle):
            warmup.append(self._run(calm_ns, len(warmup)))
        samples = [self._run(calm_ns, len(warmup) + n) for n in range(self.effort.iterations)]
        return Visit(start, tuple(warmup), _settled(warmup, settle), tuple(samples))

    def _run(self, calm_ns: int, before: int) -> int:
        taken: int = self._clock.weather_work(round(calm_ns * (1 + self.cold / 2**before)))
        self._now_ns += taken
        return taken


def _settled(runs: Sequence[int], settle: Settle) -> bool:
    last = runs[-settle.window :]
    return len(last) == settle.window and pstdev(last) <= settle.variation * fmean(last)
