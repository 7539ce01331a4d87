"""Imported by every Python of a test's hosts: a kind of job that measures the golden model, without torch.

Everything else is the farm's own: scheduler, hosts, phones, leases, the process of the job, the store and its claims.
"""

import numpy as np

from device_profiler.claims import Claim
from device_profiler.device import Device
from device_profiler.golden import GOLDEN_ENTRY, golden_file
from device_profiler.protocol import measure_calls
from device_profiler.store import Store
from device_profiler.targets import Target
from device_profiler.workload import Call, Operator, Workload
from pipeline.farm import kinds
from pipeline.farm.jobs import Job

KIND = "golden"
ROUNDS = 8
OPERATOR = Operator("CONV_2D", 2_000_000, 4_000, 30_000, 20_000, True)


def _golden(job: Job, target: Target, device: Device, store: Store, claim: Claim) -> bytes:
    """Measures ROUNDS times, then keeps all of it: there is time to be cut off."""
    call = Call(GOLDEN_ENTRY, (np.zeros((1, 8, 24, 24), np.float32),))
    measured = []
    for number in range(ROUNDS):
        work = Workload(f"{job.name}-{number}", call, (OPERATOR,))
        [one] = measure_calls(device, target, golden_file(target.runtime), [work])
        measured.append(one.measurement)
    return str(store.add_all(measured, claim)).encode()


kinds.KINDS[KIND] = _golden
