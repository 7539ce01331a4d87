"""`report`: the page of a finished run, made again from its report.json."""

import argparse
from pathlib import Path

HELP = "render report.html again from a run's report.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No options of its own: `--run` names the run folder, by default the run that reported last."""


def handle(arguments: argparse.Namespace) -> int:
    """Write report.html beside report.json and print where it is."""
    from pipeline.cli.output import emit
    from pipeline.report import HTML_NAME, JSON_NAME, read_report, render

    folder = arguments.run or latest_run(Path("runs"))
    report = read_report(folder / JSON_NAME)
    page = folder / HTML_NAME
    render(report, page)
    emit({"run": str(folder), "report": str(page)}, [f"report of {report.run}: {page}"], arguments.json)
    return 0


def latest_run(runs: Path) -> Path:
    """The run folder in `runs` whose report.json is newest.

    Raises:
        InputError: no run there has a report.
    """
    from device_profiler.errors import InputError
    from pipeline.report import JSON_NAME

    reports = sorted(runs.glob(f"*/{JSON_NAME}"), key=lambda path: path.stat().st_mtime)
    if not reports:
        raise InputError(f"no run with a {JSON_NAME} in {runs}/: name one with --run DIR, or make one with `deploy`")
    return reports[-1].parent
