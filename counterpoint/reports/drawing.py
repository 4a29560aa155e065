"""Figures drawn: in a theme, as a specification for a browser, and as SVG, PDF or PNG without one."""

import json
import re
from math import isfinite
from typing import Any

import vl_convert

from counterpoint.reports.figure import Figure
from counterpoint.reports.looks import FONT, Theme, config

DIGITS = 4
"""Significant digits of the numbers that a page holds; tables and files have all."""


WIDTH = 640
"""The width of a figure that is drawn where there is no page whose width it could take."""


PAD = 16
"""Pixels at both sides of an SVG: the font of the reader may be wider than the one by which labels were measured."""


_NOT_NEEDED = "class|role|aria-[a-z]+|pointer-events|stroke-miterlimit|font-family|xmlns:xlink|version"
"""Attributes of tags that change nothing in a page."""


def themed(figure: Figure, theme: Theme) -> dict[str, Any]:
    """The whole specification of a figure, with the configuration of a theme, for a program without a page."""
    return {**figure.whole(), "config": _without_a_page(config(theme))}


def _without_a_page(found: dict[str, Any]) -> dict[str, Any]:
    return {**found, "view": {**found["view"], "continuousWidth": WIDTH, "discreteWidth": WIDTH}}


def svg(figure: Figure, theme: Theme = "light") -> str:
    """The figure as SVG, with room at both sides."""
    return _padded(str(vl_convert.vegalite_to_svg(themed(figure, theme))))


def _padded(picture: str) -> str:
    size = re.match(r'<svg [^>]*width="([0-9.]+)" height="([0-9.]+)" viewBox="[^"]*">', picture)
    if size is None:
        return picture
    wide, high = float(size[1]) + 2 * PAD, size[2]
    rest = picture[size.end() :].replace(f'<rect width="{size[1]}"', f'<rect x="-{PAD}" width="{wide:g}"', 1)
    links = ' xmlns:xlink="http://www.w3.org/1999/xlink"' if "xlink:" in rest else ""
    box = f'width="{wide:g}" height="{high}" viewBox="-{PAD} 0 {wide:g} {high}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg"{links} {box}>{rest}'


def pdf(figure: Figure, theme: Theme = "light") -> bytes:
    """The figure as PDF."""
    return bytes(vl_convert.vegalite_to_pdf(themed(figure, theme)))


def png(figure: Figure, theme: Theme = "light", scale: float = 2.0) -> bytes:
    """The figure as PNG, `scale` pixels per point."""
    return bytes(vl_convert.vegalite_to_png(themed(figure, theme), scale=scale))


def slim(drawn: str) -> str:
    """The SVG with all that is seen of it, as part of a page: in about half as many characters.

    Names for a screen reader go too: the figure's caption has them.
    """
    drawn = re.sub(r"<[^<>]+>", lambda tag: _slim_tag(tag[0]), drawn)
    drawn = re.sub(r"<path[^<>]* d=\"(M0,0h0v0h0Z)?\"[^<>]*/>|<(text|line)[^<>]*[^/]></\2>", "", drawn)
    return drawn.replace("<svg", f'<svg font-family="{FONT}"', 1)


def _slim_tag(tag: str) -> str:
    tag = re.sub(rf' ({_NOT_NEEDED})="[^"]*"', "", tag)
    return re.sub(r"(-?[0-9]+\.[0-9]{2})[0-9]+", r"\1", tag)


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
