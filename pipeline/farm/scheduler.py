"""The farm's scheduler: one process, on loopback unless told otherwise."""

import asyncio
from collections.abc import Callable

from distributed import Scheduler

from device_profiler.errors import InputError
from pipeline.farm import engine
from pipeline.farm.address import LOOPBACK, Address
from pipeline.farm.credentials import Credentials
from pipeline.farm.stopping import stop_asked
from pipeline.farm.versions import versions_here


async def serve_scheduler(
    listen: Address, credentials: Credentials | None, pages: int, ready: Callable[[Address, str], None]
) -> None:
    """Serve until the process is asked to end. `ready` is told where, and where the status pages are (loopback).

    Raises:
        InputError: the address can't be listened on.
    """
    engine.set_up()
    stop = stop_asked()
    versions = versions_here()
    try:
        scheduler = await Scheduler(
            host=listen.host, port=listen.port, protocol=engine.protocol(credentials),
            security=engine.security(credentials), dashboard=False, dashboard_address=f"{LOOPBACK}:{pages}",
        )
    except (OSError, RuntimeError) as error:  # Dask wraps what its start raised
        cause = error if isinstance(error, OSError) else error.__cause__
        if not isinstance(cause, OSError):
            raise
        raise InputError(f"can't listen on {listen} ({cause.strerror or cause}): choose an address of this host and a "
                         "free port (--listen)") from error

    async def farm_versions() -> dict[str, str]:
        return versions

    scheduler.handlers["farm_versions"] = farm_versions
    try:
        http = f"http://{LOOPBACK}:{scheduler.http_server.port}/info/main/workers.html"
        ready(Address(listen.host, scheduler.port), http)
        await stop.wait()
    finally:
        await scheduler.close()
        await asyncio.sleep(0)
