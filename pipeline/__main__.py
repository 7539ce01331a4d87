"""`python -m pipeline VERB`: imports the verb's module only, and turns errors into one line and an exit code."""

import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from device_profiler.errors import InputError, PipelineError
from pipeline.cli.parser import parse, verb_parser
from pipeline.cli.suggestion import suggest

VERBS = ("deploy", "doctor", "targets", "devices", "train", "evaluate", "profile", "search", "export", "run", "report",
         "farm")
ACTIONS = {
    "devices import": "device_import", "devices export": "device_export", "devices fit": "device_fit",
    "devices drift": "device_drift", "devices spread": "device_spread",
    "farm scheduler": "farm_scheduler", "farm worker": "farm_worker", "farm status": "farm_status",
    "farm credentials": "farm_credentials",
}
"""Actions of a verb that have options of their own, by module."""
INTERRUPTED = 130


def verb_module(name: str) -> ModuleType:
    """The module behind a verb; no module is named like one of the standard library."""
    return importlib.import_module(f"pipeline.cli.{({'profile': 'profiling'} | ACTIONS).get(name, name)}")


def usage() -> str:
    """The text of `--help`: every verb with its line."""
    rows = "\n".join(f"  {name:<9} {verb_module(name).HELP}" for name in VERBS)
    return (
        "usage: python -m pipeline VERB [options]\n\n"
        "Train one multi-exit segmentation network, deploy the best configuration of it on a phone, with proof.\n\n"
        f"verbs:\n{rows}\n\nStart with: python -m pipeline deploy --target pixel7-npu\n"
        "Options of a verb: python -m pipeline VERB --help\n"
        "Exit codes: 0 done; 2 bad input; 3 infeasible; 4 device or transport; 5 a verification failed"
    )


def run(words: Sequence[str]) -> int:
    """Run one command line; returns the exit code.

    Raises:
        PipelineError: anything that is the user's to mend.
    """
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if words else InputError.exit_code
    name = words[0]
    if name not in VERBS:
        raise InputError(f"unknown verb {name!r}{suggest(name, VERBS)}")
    if (action := " ".join(words[:2])) in ACTIONS:
        name = action
    module = verb_module(name)
    arguments = parse(verb_parser(name, module), words[len(name.split()) :])
    from pipeline.cli.output import results_alone_on_stdout

    with results_alone_on_stdout():
        code: int = module.handle(arguments)
    return code


def _share_cores() -> None:
    """Let waiting OpenMP threads sleep: spinning ones starve whatever runs beside training (a phone's profile)."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def main() -> int:
    """Entry point: errors become `error: ...` on stderr and their exit code; Ctrl-C says how to go on."""
    _share_cores()
    try:
        return run(sys.argv[1:])
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted: finished work is kept; the same command goes on from there", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())
