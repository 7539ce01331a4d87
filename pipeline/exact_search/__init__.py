"""The search: which exits, which head at each, which thresholds; exact, from statistics.npz and latency.json alone.

Importing this package is light: the solver and its compiled kernels load when they are first used.
"""
