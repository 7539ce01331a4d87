"""Which of several processes this is, where a launcher (torchrun, accelerate launch) started them. Light."""

import os


def processes() -> int:
    """How many the launcher started; 1 without one."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def rank() -> int:
    """This one's number, from 0. The first one speaks, and writes the run folder, for all of them."""
    return int(os.environ.get("RANK") or 0) if processes() > 1 else 0
