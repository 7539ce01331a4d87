"""Vendors' terms on publishing figures: which of them a target carries, to be told wherever results leave the house."""

import tomllib
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources

import msgspec

from device_profiler.targets import Target, Unit


class VendorTerms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of vendor_terms.toml: whose software, what it reaches (`soc` is an fnmatch pattern), what it asks."""

    vendor: str
    software: str
    soc: str
    units: tuple[Unit, ...]
    statement: str
    source: str

    def bind(self, target: Target) -> bool:
        """Whether figures for `target` can be taken with this software."""
        return target.unit in self.units and fnmatchcase(target.soc, self.soc)


class _TermsFile(msgspec.Struct, forbid_unknown_fields=True):
    terms: tuple[VendorTerms, ...]


@cache
def all_terms() -> tuple[VendorTerms, ...]:
    """Every known row, in the file's order."""
    text = resources.files("device_profiler").joinpath("vendor_terms.toml").read_text()
    return msgspec.convert(tomllib.loads(text), _TermsFile).terms


def publishing_warnings(targets: Iterable[Target]) -> tuple[str, ...]:
    """A sentence for each of `targets` whose figures a vendor's terms may bind."""
    return tuple(
        f"figures for {target.name}: where they were taken with {terms.software}, {terms.statement} ({terms.source})"
        for target in targets
        for terms in all_terms()
        if terms.bind(target)
    )
