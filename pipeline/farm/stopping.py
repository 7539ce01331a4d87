"""How a server of the farm is asked to end: SIGTERM and Ctrl-C set an event, and it ends in order."""

import asyncio
import signal


def stop_asked() -> asyncio.Event:
    """Set once this process is asked to end. For the running loop of the main thread."""
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    return asked
