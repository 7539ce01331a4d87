"""From profiled parts to the latency table that the search reads.

Cost of leaving at an exit = blocks + heads + boundaries + one finish. The table has no row for the finish, which runs
once wherever an image leaves and hardly depends on the exit: its largest figure is part of block 0.
"""

from collections.abc import Callable

from device_profiler.prediction import DeviceModel, predict
from device_profiler.targets import Target
from pipeline.latency_table import LatencyTable, PartDetail, block_part, head_part
from pipeline.model import ModelSpec
from pipeline.partition import block_entry, finish_entry, head_entry
from pipeline.profiling import PartProfile, Profile

Cost = Callable[[PartProfile], float]


def part_cost(model: DeviceModel | None) -> Cost:
    """What one part adds to a deployment, in ns: its median, or what the device model says of its own work.

    A predicted part carries the overhead of being called alone; in a deployment only stages are called, so parts count
    without it.
    """
    if model is None:
        return lambda part: part.measurement.median_ns

    def own_work(part: PartProfile) -> float:
        prediction = predict(part.operators, model)
        return prediction.total_ns - prediction.overhead_ns

    return own_work


def latency_table(spec: ModelSpec, profile: Profile, target: Target, model: DeviceModel | None) -> LatencyTable:
    """The table of a target: by its device model where that predicts, else by the parts' medians.

    The overhead of a call, where it is known apart, is counted at the first stage and at every boundary.
    """
    call_ns = predict(profile.parts[block_entry(0)].operators, model).overhead_ns if model else 0.0
    return _table(spec, profile, target, part_cost(model), call_ns=call_ns)


def finish_ns(spec: ModelSpec, profile: Profile, cost: Cost) -> float:
    """The largest finish over the exits, in ns."""
    return max(cost(profile.parts[finish_entry(e)]) for e in range(len(spec.exits)))


def _table(spec: ModelSpec, profile: Profile, target: Target, cost: Cost, *, call_ns: float) -> LatencyTable:
    exits = range(len(spec.exits))
    slots = max(len(names) for names in spec.heads)
    blocks = [cost(profile.parts[block_entry(e)]) for e in exits]
    once = finish_ns(spec, profile, cost) + call_ns
    heads = tuple(
        (*[cost(profile.parts[head_entry(e, name)]) for name in spec.heads[e]], *[None] * (slots - len(spec.heads[e])))
        for e in exits
    )
    return LatencyTable(
        target=target.name,
        provenance=profile.parts[block_entry(0)].measurement.provenance,
        blocks=(blocks[0] + once, *blocks[1:]),
        heads=heads,
        boundary_ns=call_ns,
        exits=spec.exit_names,
        head_names=tuple((*names, *[""] * (slots - len(names))) for names in spec.heads),
        precision=target.precision,
        input=(1, 3, *spec.size),
        details=_details(spec, profile, once),
    )


def _details(spec: ModelSpec, profile: Profile, once: float) -> dict[str, PartDetail]:
    details = {}
    for e, names in enumerate(spec.heads):
        details[block_part(e)] = _detail(profile.parts[block_entry(e)])
        for name in names:
            details[head_part(e, name)] = _detail(profile.parts[head_entry(e, name)])
        details[finish_entry(e)] = _detail(profile.parts[finish_entry(e)])
    first = details[block_part(0)]
    note = f"the table's figure includes {once:.0f} ns for one finish and the call; {first.note or ''}".rstrip("; ")
    interval = first.interval and (first.interval[0] + once, first.interval[1] + once)
    details[block_part(0)] = PartDetail(interval, first.samples, first.provenance, first.structure, note)
    return details


def _detail(part: PartProfile) -> PartDetail:
    taken = part.measurement
    interval = None if taken.provenance == "predicted" else (taken.low_ns, taken.high_ns)
    return PartDetail(interval, len(taken.samples_ns), taken.provenance, part.structure, taken.note or None)
