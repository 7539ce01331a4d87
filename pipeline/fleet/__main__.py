"""`python -m pipeline.fleet PARENT VERB ...`: the command line as a fleet's child, interrupted when its parent dies.

An interruption is what Ctrl-C is to `python -m pipeline`: leases are given back, emulated phones end, work is kept.
"""

import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def end_with(parent: int) -> None:
    """Linux tells this process of its parent's death; elsewhere an orphan goes on to its end."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
    if os.getppid() != parent:
        sys.exit("error: the fleet's own process is gone")


if __name__ == "__main__":
    from pipeline.__main__ import main

    end_with(int(sys.argv.pop(1)))
    sys.exit(main())
