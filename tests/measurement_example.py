"""A measurement with a value in every field, for tests of what keeps, exports and imports them."""

from device_profiler.measurement import DeviceIdentity, Measurement

IDENTITY = DeviceIdentity("127.0.0.1:5555", "Pixel 7", "GS201", "arm64-v8a", "14", "print", True, "virtual")
ONE = Measurement(
    key="k",
    entry="e",
    target="pixel7-cpu",
    requested_unit="cpu",
    actual_unit="cpu",
    provenance="emulated",
    samples_ns=(10, 11),
    median_ns=10.5,
    low_ns=10.0,
    high_ns=11.0,
    load_ns=5,
    first_ns=20,
    peak_rss_kb=1000,
    identity=IDENTITY,
    state_before={"battery_level": "87"},
    state_after={},
    versions={"protocol": "1 x"},
    note="n",
    executed_ns=(7,),
    overhead_ns=0.5,
)
