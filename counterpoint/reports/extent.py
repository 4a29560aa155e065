"""The size of a figure before it is drawn, from its specification: about right, so that a page does not jump."""

from collections.abc import Mapping
from typing import Any

from counterpoint.reports.figure import Figure

_WIDTH, _HEIGHT = 320, 220
_BESIDE, _BELOW = 60, 50
"""Axes and titles of a panel."""


def extent(figure: Figure) -> tuple[int, int]:
    """Width and height in pixels."""
    width, height = _extent(figure.spec, figure)
    return round(width), round(height)


def _extent(spec: Mapping[str, Any], figure: Figure) -> tuple[float, float]:
    for part, is_row in (("vconcat", False), ("hconcat", True), ("concat", True)):
        if part in spec:
            sizes = [_extent(one, figure) for one in spec[part]]
            columns = int(spec.get("columns", 0)) or (len(sizes) if is_row else 1)
            return _grid(sizes, columns)
    if "spec" in spec:
        inner = _extent(spec["spec"], figure)
        facet = spec.get("facet", {})
        both = isinstance(facet, Mapping) and ("row" in facet or "column" in facet)
        if both:
            columns, rows = (max(1, _values(facet.get(part), figure)) for part in ("column", "row"))
            return columns * inner[0], rows * inner[1]
        count = max(1, len(spec["repeat"]) if isinstance(spec.get("repeat"), list) else _values(facet, figure))
        return _grid([inner] * count, int(spec.get("columns", 0)) or count)
    encoding = spec.get("encoding", {})
    width = _length(spec.get("width"), encoding.get("x"), figure, _WIDTH) + _BESIDE
    height = _length(spec.get("height"), encoding.get("y"), figure, _HEIGHT) + _BELOW
    columns, rows = (max(1, _values(encoding.get(part), figure)) for part in ("column", "row"))
    return width * columns, height * rows


def _grid(sizes: list[tuple[float, float]], columns: int) -> tuple[float, float]:
    rows = [sizes[start : start + columns] for start in range(0, len(sizes), max(1, columns))] or [[(0.0, 0.0)]]
    return max(sum(one[0] for one in row) for row in rows), sum(max(one[1] for one in row) for row in rows)


def _length(given: Any, channel: Any, figure: Figure, otherwise: int) -> float:
    if isinstance(given, int | float):
        return given
    if isinstance(given, Mapping) and isinstance(given.get("step"), int | float):
        return float(given["step"]) * max(1, _values(channel, figure))
    return otherwise


def _values(channel: Any, figure: Figure) -> int:
    """The number of different values of a channel's field."""
    field = channel.get("field") if isinstance(channel, Mapping) else None
    return max((frame[field].n_unique() for frame in figure.data.values() if field in frame.columns), default=0)
