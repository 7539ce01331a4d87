"""The sum of a path's parts, as the latency table has it, against the same path timed whole, in finished deployments.

Run: python benchmarks/profiler/parts_and_wholes.py RUN_FOLDER ... (each with its report.json)
"""

import argparse
from pathlib import Path

import msgspec

from device_profiler.files import write_atomic
from pipeline.run_report.storage import read_report

RESULTS = Path(__file__).parent / "results" / "parts_and_wholes.json"


class ComparedPath(msgspec.Struct, frozen=True):
    """One path of one run [ns]; `difference`: of the parts' sum from the whole, relative."""

    run: str
    network: str
    configuration: str
    exit: int
    provenance: str
    parts_ns: float
    whole_ns: float
    difference: float


def main() -> None:
    """Print the paths and write results/parts_and_wholes.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    compared = [path for run in parser.parse_args().runs for path in compare(run)]
    for path in compared:
        print(
            f"{path.run:<12} {path.configuration:<16} exit {path.exit + 1}: parts {path.parts_ns / 1e6:.3f} ms, whole "
            f"{path.whole_ns / 1e6:.3f} ms ({path.provenance}), {path.difference:+.2%}"
        )
    write_atomic(RESULTS, msgspec.json.format(msgspec.json.encode(compared), indent=1) + b"\n")


def compare(run: Path) -> list[ComparedPath]:
    """Every path that the run timed whole."""
    report = read_report(run / "report.json")
    named = {"chosen": report.chosen, "full network": report.reference, "strongest single": report.strongest_single}
    network = f"{report.backbone} {report.input_size[0]}x{report.input_size[1]}"
    return [
        ComparedPath(run.name, network, name, path.exit, path.whole.source.provenance, path.parts_ns, path.whole.ns,
                     round(path.parts_ns / path.whole.ns - 1, 5))
        for name, decided in named.items() if decided
        for path in decided.paths if path.parts_ns
    ]


if __name__ == "__main__":
    main()
