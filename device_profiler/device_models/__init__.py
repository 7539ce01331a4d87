"""Device models as data: one TOML file each, read by device_profiler.prediction."""
