"""Shared by every package's tests: modules beside this file can be imported by tests and by the workers they start."""
