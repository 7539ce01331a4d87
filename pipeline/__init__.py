"""What a user runs: data, training, evaluation, partition, profiling, search, export, report.

`from pipeline import deploy` gives the commands as functions (see `pipeline.api`); importing the package alone imports
nothing else. No module in here has the name of a function: `pipeline.search` is the command, nothing rebinds it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.api import compare as compare
    from pipeline.api import deploy as deploy
    from pipeline.api import deploy_fleet as deploy_fleet
    from pipeline.api import devices as devices
    from pipeline.api import doctor as doctor
    from pipeline.api import evaluate as evaluate
    from pipeline.api import export as export
    from pipeline.api import front as front
    from pipeline.api import profile as profile
    from pipeline.api import profile_phones as profile_phones
    from pipeline.api import report as report
    from pipeline.api import run as run
    from pipeline.api import search as search
    from pipeline.api import self_check as self_check
    from pipeline.api import sustain as sustain
    from pipeline.api import targets as targets
    from pipeline.api import train as train
    from pipeline.api import train_share as train_share

FUNCTIONS = (
    "compare", "deploy", "deploy_fleet", "devices", "doctor", "evaluate", "export", "front", "profile",
    "profile_phones", "report", "run", "search", "self_check", "sustain", "targets", "train",
    "train_share",
)  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in FUNCTIONS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("pipeline.api"), name)
