"""A row of report.json: frozen, and strict about its fields."""

import msgspec


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A frozen row of report.json; a field that the schema lacks is an error."""
