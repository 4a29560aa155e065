"""A figure: what is drawn, as a Vega-Lite specification without its data, and the data beside it.

One specification serves the page, the viewer and the picture of a paper: colours of text, axes and background come from
the theme (`counterpoint.reports.looks`), which is applied when it is drawn.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure of a page, or of a paper."""

    name: str
    """Unique on its page, and the name of its file: letters, digits, `-`, `_` and `.`."""
    title: str
    says: str
    """The content in one sentence or two, with the main numbers, n, seeds and what intervals are over: its caption,
    and what a screen reader says instead of it."""
    spec: Mapping[str, Any]
    """Vega-Lite, as `altair.Chart.to_dict()` gives it, whose data are named: `{"data": {"name": "rows"}}`."""
    data: Mapping[str, "pl.DataFrame"]
    """Name of the data -> their rows."""
    table: "pl.DataFrame | None" = None
    """The numbers as a reader wants them in a table; None: those of `data["rows"]`."""

    def rows(self) -> "pl.DataFrame":
        """The numbers that a reader can look up or copy."""
        return self.data["rows"] if self.table is None else self.table

    def whole(self) -> dict[str, Any]:
        """The specification with its data, for a program that draws it."""
        return {**self.spec, "datasets": {name: frame.to_dicts() for name, frame in self.data.items()}}
