"""Figures as SVG within a page: they need no script, and follow the theme of the page."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import vl_convert
from markupsafe import Markup

from counterpoint.reports.assets import colour_names
from counterpoint.reports.drawing import PAD, slim
from counterpoint.reports.figure import Figure
from counterpoint.reports.looks import config

WIDE, HALF = 720, 400
"""Pixels of a panel that is as wide as its page, and of one beside another: drawn larger, its text would shrink."""
_NARROW, _BESIDE, _LEAST = 336, 90, 180
"""Pixels of a phone's page, of what is beside a panel, and of the narrowest panel; as in `figures.js`."""
_COLOUR = re.compile(r'(fill|stroke)="(#[0-9a-fA-F]{6})"')
_SIZE = re.compile(r'<svg [^>]*width="([0-9.]+)" height="([0-9.]+)" viewBox="[^"]*"')
_OWN_ID = re.compile(r'( id="|url\(#|href="#)')


def static_svg(figure: Figure, width: int = WIDE) -> Markup:
    """The figure as SVG whose colours are the variables of the page, and whose names are its own.

    Where it does not fit a phone there is a second one that does; the style sheet of the page shows one of them.
    """
    whole = figure.whole()
    wide = {**whole, "width": width} if whole.get("width") == "container" else whole
    narrow = fitted(wide, _NARROW)
    if narrow == wide:
        return _drawn(figure, wide, "wide")
    pictures = Markup('<div class="at-wide">{}</div><div class="at-narrow">{}</div>')
    return pictures.format(_drawn(figure, wide, "wide"), _drawn(figure, narrow, "narrow"))


def fitted(spec: Mapping[str, Any], room: int) -> dict[str, Any]:
    """The specification for little room: panels below each other, none wider than the room; as `figures.js` has it."""
    copy = dict(spec)
    if isinstance(copy.get("width"), int | float):
        copy["width"] = min(copy["width"], max(_LEAST, room - _BESIDE))
    elif copy.get("width") == "container":
        copy["width"] = room - _BESIDE
    if "hconcat" in copy:
        copy["vconcat"] = copy.pop("hconcat")
    if copy.get("columns", 1) > 1:
        copy["columns"] = 1
    for part in ("vconcat", "concat", "layer"):
        if part in copy:
            copy[part] = [fitted(one, room) for one in copy[part]]
    if isinstance(copy.get("spec"), Mapping):
        copy["spec"] = fitted(copy["spec"], room)
    return copy


def _drawn(figure: Figure, spec: Mapping[str, Any], which: str) -> Markup:
    look = {**config("light"), "aria": False}
    text = _COLOUR.sub(_variable, slim(str(vl_convert.vegalite_to_svg({**spec, "config": look}))))
    text = _OWN_ID.sub(rf"\1{figure.name}-{which}-", text)
    return Markup(_SIZE.sub(_padded, text, count=1))


def _padded(found: re.Match[str]) -> str:
    width, height = (float(found[place]) for place in (1, 2))
    size = f'width="{width + 2 * PAD:g}" height="{height:g}" viewBox="{-PAD} 0 {width + 2 * PAD:g} {height:g}"'
    return f'<svg aria-hidden="true" {size}'


def _variable(found: re.Match[str]) -> str:
    name = _names().get(found[2].lower())
    return f'{found[1]}="var(--{name})"' if name else found[0]


@cache
def _names() -> Mapping[str, str]:
    """Colour of the light theme -> its variable; of two with one colour the first."""
    found: dict[str, str] = {}
    for name, colour in colour_names().items():
        found.setdefault(colour.lower(), name)
    return found
