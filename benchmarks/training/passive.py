"""Threads that sleep while they wait, as `python -m pipeline` has them: torch reads that when it is imported."""

import os
import sys


def wait_as_the_product() -> None:
    """Start this script anew in such surroundings, unless they say how threads wait."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "passive"
        os.execv(sys.executable, [sys.executable, *sys.argv])
