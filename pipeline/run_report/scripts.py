"""The page's scripts: chart library, charts and data in one compressed block, unpacked by the browser itself.

Charts are compiled from Vega-Lite to Vega here, so that the page carries Vega alone.
"""

import base64
import gzip
import json
from collections.abc import Mapping
from functools import cache

import msgspec

from pipeline.run_report.charts import Specification, chart_config


class Packed(msgspec.Struct, frozen=True):
    """What the page's script unpacks: JavaScript that sets `vega`, Vega specifications by name, the picker's data."""

    library: str
    charts: dict[str, Specification]
    explorer: object = None


def pack(charts: Mapping[str, Specification], explorer: msgspec.Struct | None = None) -> str:
    """Base64 of gzip of the JSON of `Packed`, the same for the same input."""
    content = Packed(_chart_library(), {name: compiled(chart) for name, chart in charts.items()}, explorer)
    return base64.b64encode(gzip.compress(msgspec.json.encode(content), 9, mtime=0)).decode()


def compiled(chart: Specification) -> Specification:
    """A Vega-Lite specification as Vega."""
    import vl_convert

    found = vl_convert.vegalite_to_vega({**chart, "config": chart_config()})
    specification: Specification = json.loads(found) if isinstance(found, str) else found
    return specification


@cache
def _chart_library() -> str:
    """Vega as one script that sets `vega`; vl-convert carries its source, nothing is fetched."""
    import vl_convert

    source = f"/npm/vega@{vl_convert.get_vega_version()}/+esm"
    code = f'import {{ View, parse }} from "{source}"; window.vega = {{ View, parse }};'
    return str(vl_convert.javascript_bundle(code))
