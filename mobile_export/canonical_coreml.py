"""Graph rewrites for Core ML: it has Hardsigmoid as it is, so that one is not respelled."""

from mobile_export.canonical import REWRITES, Rewrite, respell_hardsigmoid

COREML_REWRITES: tuple[Rewrite, ...] = tuple(rewrite for rewrite in REWRITES if rewrite is not respell_hardsigmoid)
