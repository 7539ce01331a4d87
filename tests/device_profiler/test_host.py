"""How much work a host takes at the same time: what its cores and its memory carry, one at least."""

from device_profiler.host import at_once, cores, memory_bytes, room


def test_a_host_runs_as_many_as_its_cores_and_memory_carry() -> None:
    assert room(cores=2, memory=64, bytes_each=1) == 2
    assert room(cores=16, memory=13, bytes_each=4) == 3
    assert room(cores=16, memory=3, bytes_each=4) == 1


def test_this_host() -> None:
    assert at_once(1) == cores()
    assert at_once(memory_bytes() + 1) == 1
