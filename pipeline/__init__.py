"""What a user runs: data, training, evaluation, partition, profiling, search, export, report."""
