"""What works on this machine, what is missing, and the command that mends it; and fetching what can be fetched."""

from pipeline.health.check import Check, State
from pipeline.health.machine import check_machine
from pipeline.health.packages import check_packages, check_python
from pipeline.health.phones import check_phones
from pipeline.health.preparing import prepare
from pipeline.health.sdks import check_sdks

__all__ = ["Check", "State", "examine", "prepare"]


def examine() -> list[Check]:
    """Look without fetching anything."""
    return [check_python(), *check_packages(), *check_machine(), *check_phones(), *check_sdks()]
