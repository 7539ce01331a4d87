"""Beyond one machine: a scheduler, hosts that offer their phones, and clients whose commands run there.

Built on Dask distributed (docs/decisions/farm.md), which only engine, scheduler, host, unit and client import.
"""
