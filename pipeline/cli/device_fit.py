"""`devices fit`: a device model fitted to the figures in the store, with its error on parts left out."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli.store_place import add_store_argument

if TYPE_CHECKING:
    from device_profiler.fitting import FitReport

HELP = "fit a device model to measurements in the store"
TIMED = ("measured", "imported")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The model, what it is fitted to, and where the fitted one goes."""
    parser.add_argument("model", metavar="MODEL", help="a name of device_models/, such as tensor-g2-tpu")
    parser.add_argument("--target", action="append", default=[], metavar="NAME",
                        help="fit to this target's figures (repeatable; default: the targets that use the model)")
    parser.add_argument("--provenance", action="append", default=[], choices=(*TIMED, "emulated"),
                        help="fit to such figures (repeatable; default: measured, imported)")
    parser.add_argument("--out", type=Path, metavar="FILE.toml", help="write the fitted model here")
    parser.add_argument("--save", action="store_true", help="use the fitted model from now on, in place of the shipped")
    add_store_argument(parser)


def handle(arguments: argparse.Namespace) -> int:
    """Fit, report, and write what was asked for."""
    from device_profiler.errors import InputError
    from device_profiler.prediction import fitted_file, load_model, write_model
    from device_profiler.targets import all_targets, find_target

    model = load_model(arguments.model)
    targets = [find_target(name).name for name in arguments.target]
    targets = targets or [one.name for one in all_targets() if one.device_model == arguments.model]
    if not targets:
        raise InputError(f"no target uses {arguments.model}: name those whose figures it is to be fitted to (--target)")
    from device_profiler.fitting import fit, stored_parts
    from device_profiler.store import Store
    from pipeline.cli.output import emit

    provenances = arguments.provenance or list(TIMED)
    with Store(arguments.store) as store:
        parts = stored_parts(store, targets, provenances)
    fitted, report = fit(model, parts, f"{' or '.join(provenances)} for {', '.join(targets)}")
    places = [*([arguments.out] if arguments.out else []), *([fitted_file(model.name)] if arguments.save else [])]
    for place in places:
        write_model(fitted, place)
    result = {"model": fitted.fingerprint, "report": report, "written": [str(place) for place in places]}
    emit(result, _lines(report, places), arguments.json)
    return 0


def _lines(report: "FitReport", places: list[Path]) -> list[str]:
    rows = [f"{one.name:<24} {one.before:>12.4g} -> {one.after:>12.4g}  "
            f"{'' if one.determined else 'not determined: held by its start'}".rstrip() for one in report.parameters]
    error = (f"on parts left out it errs by {report.median_error:.1%} (median), 9 of 10 by less than "
             f"{report.worst_tenth:.1%}; before the fit {report.before_median:.1%} and {report.before_worst_tenth:.1%}")
    hint = "nothing was written: --save uses it from now on, --out FILE.toml keeps it"
    told = [f"written: {place}" for place in places] or [hint]
    return [f"fitted to {report.parts} parts", *rows, error, *told]
