"""Figures drawn: in a theme, as a specification for a browser, and as SVG, PDF or PNG without one."""

import json
from math import isfinite
from typing import Any

import vl_convert

from counterpoint.reports.figure import Figure
from counterpoint.reports.looks import Theme, config

DIGITS = 4
"""Significant digits of the numbers that a page holds; tables and files have all."""


def themed(figure: Figure, theme: Theme) -> dict[str, Any]:
    """The whole specification of a figure, with the configuration of a theme."""
    return {**figure.whole(), "config": config(theme)}


def svg(figure: Figure, theme: Theme = "light") -> str:
    """The figure as SVG."""
    return str(vl_convert.vegalite_to_svg(themed(figure, theme)))


def pdf(figure: Figure, theme: Theme = "light") -> bytes:
    """The figure as PDF."""
    return bytes(vl_convert.vegalite_to_pdf(themed(figure, theme)))


def png(figure: Figure, theme: Theme = "light", scale: float = 2.0) -> bytes:
    """The figure as PNG, `scale` pixels per point."""
    return bytes(vl_convert.vegalite_to_png(themed(figure, theme), scale=scale))


def packed(figure: Figure) -> str:
    """The figure for a page: its specification, and its data in columns with few digits, as JSON.

    The script of the page makes rows of the columns, adds the configuration of the theme, and draws.
    """
    data = {
        name: {column: [_short(value) for value in frame[column].to_list()] for column in frame.columns}
        for name, frame in figure.data.items()
    }
    return json.dumps({"name": figure.name, "spec": figure.spec, "data": data}, separators=(",", ":"))


def _short(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return float(f"{value:.{DIGITS}g}") if isfinite(value) else None
