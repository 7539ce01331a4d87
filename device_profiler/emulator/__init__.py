"""Emulated phones: a real arm64 adbd with a phone's properties and a virtual clock, reached like any phone over ADB.

`phone` has start_phone, stop_phone and list_phones.
"""
