"""Phones: transports, emulated phones, native runners, measuring, device models, store. Never imports torch."""
