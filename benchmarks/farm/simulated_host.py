"""A host of the farm whose phones are simulated: everything is real but the phones, where measuring is a timer.

`python benchmarks/farm/simulated_host.py SCHEDULER NAME PHONES SECONDS` offers so many phones until it is stopped.
"""

import asyncio
import sys
import time
from collections.abc import Sequence

from pipeline.farm import host, unit
from pipeline.farm.address import LOOPBACK, parse_address
from pipeline.farm.doing import Running
from pipeline.farm.jobs import JobEnd
from pipeline.farm.offers import Offer
from pipeline.farm.unit import Joining

TARGET = "pixel7-cpu"


def main(scheduler: str, name: str, phones: int, seconds: float) -> None:
    """Offer `phones` phones; a job on one takes `seconds`."""
    offers = [Offer(f"{name}-{number}", "simulated", True, (TARGET,)) for number in range(phones)]

    def timer(encoded: bytes, host: str, phone: str, store: str | None, running: Running) -> JobEnd:
        with running.work_on(phone):
            time.sleep(seconds)
        return JobEnd("done", host, phone)

    def seen(wanted: Sequence[str], busy: frozenset[str]) -> list[Offer]:
        return [offer for offer in offers if offer.phone not in busy]

    for module, name_there, stand_in in ((host, "look", seen), (unit, "do_job", timer)):
        setattr(module, name_there, stand_in)
    joining = Joining(parse_address(scheduler), LOOPBACK, None, name, None)
    asyncio.run(host.Host(joining, (), lambda line: print(line, file=sys.stderr, flush=True)).serve())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
