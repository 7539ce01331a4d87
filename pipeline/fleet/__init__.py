"""One checkpoint, many targets: each target's `deploy` as a process, then an index of the bundles by SoC."""
