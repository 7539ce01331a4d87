"""What every part costs on one target: the search's second file (latency.json, schema 1)."""

import json
import math
from pathlib import Path
from typing import NoReturn

import msgspec

from device_profiler.errors import InputError
from device_profiler.files import write_atomic
from pipeline.exit_statistics import ExitStatistics

SCHEMA = 1
PROVENANCES = ("measured", "imported", "emulated", "predicted")
# Latency is in ns; the same code searches any other additive cost.
UNITS = ("ns", "multiply-adds", "bytes", "nJ")


class PartDetail(msgspec.Struct, frozen=True, omit_defaults=True):
    """How one part's figure came about; an entry of `details`, keyed by part name (block_0, head_2_fcn-r1)."""

    interval: tuple[float, float] | None = None  # confidence interval, in the table's unit
    samples: int | None = None
    provenance: str | None = None
    structure: str | None = None  # structure hash of the part
    note: str | None = None


class LatencyTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Latency of every backbone block and head on one target, in ns (or in `unit`).

    blocks: [E], block k is the backbone's work between exit k-1 and exit k. heads: [E][H], null where there is none.
    Raises InputError on construction where a value breaks its rule.
    """

    target: str
    provenance: str
    blocks: tuple[float, ...]
    heads: tuple[tuple[float | None, ...], ...]
    unit: str = "ns"
    schema: int = SCHEMA
    boundary_ns: float = 0.0  # added at every selected exit but the last
    exits: tuple[str, ...] | None = None
    head_names: tuple[tuple[str, ...], ...] | None = None
    precision: str | None = None
    input: str | tuple[int, ...] | None = None
    details: dict[str, PartDetail] = {}

    def __post_init__(self) -> None:
        _check_labels(self)
        _check_costs(self)
        _check_details(self)

    def matches(self, statistics: ExitStatistics) -> None:
        """Raises InputError where the table and the statistics speak of different networks."""
        wanted = (len(statistics.exits), len(statistics.heads[0]))
        if (len(self.blocks), len(self.heads[0])) != wanted:
            raise InputError(
                f"latency table has {len(self.blocks)} exits x {len(self.heads[0])} head slots, the statistics have "
                f"{wanted[0]} x {wanted[1]}: they must come from the same network"
            )
        if self.exits is not None and self.exits != statistics.exits:
            raise InputError(
                f"exits of the latency table ({', '.join(self.exits)}) are not those of the statistics "
                f"({', '.join(statistics.exits)})"
            )
        if self.precision and statistics.precision and self.precision != statistics.precision:
            raise InputError(
                f"precision of the latency table ({self.precision}) is not that of the statistics "
                f"({statistics.precision}): what is searched must be what is shipped"
            )
        _check_head_names(self, statistics)

    def save(self, path: Path) -> None:
        """Write latency.json, whole or not at all; absent optional fields are left out."""
        fields = {"schema": self.schema, **{k: v for k, v in msgspec.to_builtins(self).items() if v not in (None, {})}}
        write_atomic(path, json.dumps(fields, indent=1, allow_nan=False) + "\n")

    @classmethod
    def load(cls, path: Path) -> "LatencyTable":
        """Read and check latency.json. Raises InputError with the file's name and the broken rule."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
            return msgspec.convert(_require_header(content), cls)
        except FileNotFoundError:
            raise InputError(f"{path} does not exist: `python -m pipeline profile` writes latency.json") from None
        except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
            raise InputError(f"{path} can't be read as JSON: {error}") from None
        except (msgspec.ValidationError, InputError) as error:
            raise InputError(f"{path}: {error}") from None


def block_part(exit_index: int) -> str:
    """Name of the backbone block in front of exit `exit_index` (0-based), a key of `details`."""
    return f"block_{exit_index}"


def head_part(exit_index: int, name: str) -> str:
    """Name of one head's part, a key of `details`."""
    return f"head_{exit_index}_{name}"


def _refuse_constant(constant: str) -> NoReturn:
    raise InputError(f"{constant} is no latency: every figure is finite and at least 0")


def _require_header(content: object) -> object:
    """`schema` and `unit` have defaults in code, yet a file must state them."""
    if isinstance(content, dict):
        for key in ("schema", "unit"):
            if key not in content:
                raise InputError(f"{key} missing: a latency table states schema, target, provenance, unit")
    return content


def _check_labels(table: LatencyTable) -> None:
    if table.schema != SCHEMA:
        raise InputError(f"schema {table.schema} is not known: this version reads schema {SCHEMA}")
    if table.provenance not in PROVENANCES:
        raise InputError(f"provenance {table.provenance!r} is not known: choose one of {', '.join(PROVENANCES)}")
    if table.unit not in UNITS:
        raise InputError(f"unit {table.unit!r} is not known: choose one of {', '.join(UNITS)}")


def _check_costs(table: LatencyTable) -> None:
    if not table.blocks:
        raise InputError("no blocks: a latency table has one per exit")
    if len(table.heads) != len(table.blocks) or len({len(row) for row in table.heads}) != 1 or not table.heads[0]:
        raise InputError(
            f"heads has {len(table.heads)} rows of {sorted({len(row) for row in table.heads})} slots, must be one row "
            f"per exit ({len(table.blocks)}), as many slots in each, null where there is no head"
        )
    for e, cost in enumerate(table.blocks):
        _check_cost(f"blocks[{e}]", cost)
    for e, row in enumerate(table.heads):
        for h, head_cost in enumerate(row):
            if head_cost is not None:
                _check_cost(f"heads[{e}][{h}]", head_cost)
    _check_cost("boundary_ns", table.boundary_ns)


def _check_cost(where: str, cost: float) -> None:
    if not (math.isfinite(cost) and cost >= 0):
        raise InputError(f"{where} is {cost}: a latency is finite and at least 0")


def _check_details(table: LatencyTable) -> None:
    for part, detail in table.details.items():
        if detail.interval is not None:
            low, high = detail.interval
            if not (math.isfinite(low) and math.isfinite(high) and 0 <= low <= high):
                raise InputError(f"details of {part}: interval [{low}, {high}] must be 0 <= low <= high")


def _check_head_names(table: LatencyTable, statistics: ExitStatistics) -> None:
    if table.head_names is None:
        return
    if [len(row) for row in table.head_names] != [len(row) for row in statistics.heads]:
        raise InputError("head_names of the latency table has another shape than the statistics' heads")
    for e, (ours, theirs) in enumerate(zip(table.head_names, statistics.heads, strict=True)):
        for h, (own, other) in enumerate(zip(ours, theirs, strict=True)):
            if other and own != other and not (own == "" and table.heads[e][h] is None):
                raise InputError(
                    f"head {own!r} in slot [{e}][{h}] of the latency table is not the statistics' head {other!r}"
                )
