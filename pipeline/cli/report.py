"""`report`: the page of a finished run, made again from its report.json; or several runs side by side."""

import argparse
from pathlib import Path

HELP = "render report.html again from a run's report.json, or lay runs side by side"
COMPARISON_NAME = "comparison.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`--run` names the run folder, by default the run that reported last."""
    parser.add_argument(
        "--compare", type=Path, nargs="+", metavar="RUN", help="lay these run folders side by side on one page"
    )
    parser.add_argument("--output", type=Path, metavar="FILE.html", help="where to (default: the run folder)")


def handle(arguments: argparse.Namespace) -> int:
    """Write the page and print where it is."""
    return compare_runs(arguments) if arguments.compare else report_run(arguments)


def report_run(arguments: argparse.Namespace) -> int:
    """The page of one run, by default as report.html beside its report.json."""
    from pipeline.cli.output import emit
    from pipeline.run_report import HTML_NAME, JSON_NAME, read_curve, read_report, render

    folder = arguments.run or latest_run(Path("runs"))
    report = read_report(folder / JSON_NAME)
    page = arguments.output or folder / HTML_NAME
    render(report, page, read_curve(folder))
    emit({"run": str(folder), "report": str(page)}, [f"report of {report.run}: {page}"], arguments.json)
    return 0


def compare_runs(arguments: argparse.Namespace) -> int:
    """One page for several runs, by default comparison.html in the folder that holds the first of them.

    Raises:
        InputError: fewer than two runs, one named twice, or `--run` beside `--compare`.
    """
    from device_profiler.errors import InputError

    folders: list[Path] = arguments.compare
    if len(folders) < 2:
        raise InputError(f"--compare {folders[0]} names one run: name two or more, as in --compare runs/A runs/B")
    if arguments.run:
        raise InputError(f"--run {arguments.run} and --compare don't go together: name every run after --compare")
    twice = [folder for n, folder in enumerate(folders) if folder.resolve() in [f.resolve() for f in folders[:n]]]
    if twice:
        raise InputError(f"--compare names {twice[0]} twice: name each run once")
    from pipeline.cli.output import emit
    from pipeline.run_report import JSON_NAME, read_report, render_comparison

    reports = [read_report(folder / JSON_NAME) for folder in folders]
    page = arguments.output or folders[0].parent / COMPARISON_NAME
    render_comparison(reports, page)
    names = ", ".join(report.run for report in reports)
    emit({"runs": [str(f) for f in folders], "report": str(page)}, [f"comparison of {names}: {page}"], arguments.json)
    return 0


def latest_run(runs: Path) -> Path:
    """The run folder in `runs` whose report.json is newest.

    Raises:
        InputError: no run there has a report.
    """
    from device_profiler.errors import InputError
    from pipeline.run_report import JSON_NAME

    reports = sorted(runs.glob(f"*/{JSON_NAME}"), key=lambda path: path.stat().st_mtime)
    if not reports:
        raise InputError(f"no run with a {JSON_NAME} in {runs}/: name one with --run DIR, or make one with `deploy`")
    return reports[-1].parent
