"""Which targets of a fleet run together: one job a phone, and shared work is done by the first of a kind."""

from device_profiler.targets import find_target
from pipeline.fleet.schedule import startable

TARGETS = [find_target(name) for name in ("pixel7-cpu", "pixel7-npu", "galaxy-s23-cpu", "galaxy-s24-cpu-int8",
                                          "pixel8-cpu")]  # fmt: skip


def order(*, phones_multiply: bool) -> list[list[str]]:
    """Waves of targets when all of a wave end together."""
    waves: list[list[str]] = []
    ended: list[str] = []
    while len(ended) < len(TARGETS):
        wave: list[str] = []
        while target := startable(TARGETS, wave, ended, phones_multiply=phones_multiply):
            wave.append(target.name)
        assert wave, "nothing may start, so the fleet would wait for ever"
        waves.append(wave)
        ended += wave
    return waves


def test_a_phone_works_on_one_target_and_the_first_of_a_kind_goes_ahead() -> None:
    assert order(phones_multiply=False) == [
        ["pixel7-cpu", "galaxy-s24-cpu-int8"],
        ["pixel7-npu", "galaxy-s23-cpu", "pixel8-cpu"],
    ]


def test_emulated_phones_are_as_many_as_are_wanted() -> None:
    assert order(phones_multiply=True) == [
        ["pixel7-cpu", "pixel7-npu", "galaxy-s24-cpu-int8"],
        ["galaxy-s23-cpu", "pixel8-cpu"],
    ]
