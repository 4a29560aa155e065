"""Figures drawn: in a theme, as a specification for a browser, and as SVG, PDF or PNG without one."""

import json
import re
from collections.abc import Mapping
from math import isfinite
from typing import Any

import vl_convert
from markupsafe import Markup

from counterpoint.reports.figure import Figure
from counterpoint.reports.looks import Theme, config

DIGITS = 4
"""Significant digits of the numbers that a page holds; tables and files have all."""


WIDTH = 640
"""The width of a figure that is drawn where there is no page whose width it could take."""


_OF_A_PAGE = {"aria": False, "padding": {"left": 28, "right": 16, "top": 4, "bottom": 4}}
"""A margin for fonts that are wider than those that the texts were measured in."""


def themed(figure: Figure, theme: Theme) -> dict[str, Any]:
    """The whole specification of a figure, with the configuration of a theme, for a program without a page."""
    return {**figure.whole(), "config": _without_a_page(config(theme))}


def _without_a_page(found: dict[str, Any]) -> dict[str, Any]:
    return {**found, "view": {**found["view"], "continuousWidth": WIDTH, "discreteWidth": WIDTH}}


def svg(figure: Figure, theme: Theme = "light") -> str:
    """The figure as SVG."""
    return str(vl_convert.vegalite_to_svg(themed(figure, theme)))


def pdf(figure: Figure, theme: Theme = "light") -> bytes:
    """The figure as PDF."""
    return bytes(vl_convert.vegalite_to_pdf(themed(figure, theme)))


def png(figure: Figure, theme: Theme = "light", scale: float = 2.0) -> bytes:
    """The figure as PNG, `scale` pixels per point."""
    return bytes(vl_convert.vegalite_to_png(themed(figure, theme), scale=scale))


def static_svg(figure: Figure) -> Markup:
    """The figure as SVG to be part of a page, readable without a script, in the colours of the page's theme.

    One drawing serves both themes: its colours are `light-dark(...)`, which follows the `color-scheme` of the page. Its
    width is that of its place, up to its own. It has no identifiers that another figure could have too, and no names
    for a screen reader, which reads the caption.
    """
    marked, colours = _marked(config("light"), config("dark"))
    drawn = str(vl_convert.vegalite_to_svg({**figure.whole(), "config": {**_without_a_page(marked), **_OF_A_PAGE}}))
    drawn = re.sub(r"<[^<>]+>", lambda tag: _of_a_page(tag[0], figure.name, colours), drawn)
    drawn = re.sub(r"<path[^<>]* d=\"(M0,0h0v0h0Z)?\"[^<>]*/>|<(text|line)[^<>]*[^/]></\\2>", "", drawn)
    width = re.search(r'width="([0-9.]+)"', drawn)
    size = f' font-family="system-ui, sans-serif" style="width:100%;height:auto;max-width:{width[1] if width else WIDTH}px" aria-hidden="true"'
    return Markup(drawn.replace("<svg", f"<svg{size}", 1))  # text is escaped by the program that draws


def _of_a_page(tag: str, name: str, colours: Mapping[str, str]) -> str:
    """A tag of a drawing without what a page does not need, in the colours of both themes."""
    tag = re.sub(r' (class|role|aria-[a-z]+|pointer-events|stroke-miterlimit|font-family|xmlns:xlink|version)="[^"]*"', "", tag)
    tag = re.sub(r'(fill|stroke)="(#fe..01)"', lambda found: f'{found[1]}="{colours[found[2]]}"', tag)
    tag = re.sub(r"(-?[0-9]+\.[0-9]{2})[0-9]+", r"\1", tag)
    return re.sub(r'( id="|url\(#)', rf"\g<1>{name}-", tag)


def _marked(light: Any, dark: Any) -> tuple[Any, dict[str, str]]:
    """The configuration with a colour of its own wherever the themes differ, and each such colour's pair."""
    pairs: dict[tuple[str, str], str] = {}

    def walk(one: Any, other: Any) -> Any:
        if isinstance(one, dict):
            return {name: walk(value, other[name]) for name, value in one.items()}
        if isinstance(one, list):
            return [walk(*both) for both in zip(one, other, strict=True)]
        if isinstance(one, str) and one.startswith("#"):
            return pairs.setdefault((one, other), f"#fe{len(pairs):02x}01")
        return one

    marked = walk(light, dark)
    return marked, {mark: f"light-dark({one},{other})" for (one, other), mark in pairs.items()}


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
