"""One file a schema of the measurement store, in order."""
