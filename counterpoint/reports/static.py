"""Figures as SVG within a page: they need no script, and follow the theme of the page."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import vl_convert
from markupsafe import Markup

from counterpoint.reports.assets import colour_names
from counterpoint.reports.drawing import themed
from counterpoint.reports.figure import Figure

_WIDTH = 720
"""Pixels of a panel that is as wide as its page."""
_COLOUR = re.compile(r'(fill|stroke)="(#[0-9a-fA-F]{6})"')
_OWN_ID = re.compile(r'( id="|url\(#|href="#)')


def static_svg(figure: Figure) -> Markup:
    """The figure as SVG whose colours are the variables of the page, and whose names are its own."""
    spec = themed(figure, "light")
    spec["config"] = {**spec["config"], "aria": False}
    text = str(vl_convert.vegalite_to_svg(_wide(spec)))
    text = _COLOUR.sub(_variable, text)
    text = _OWN_ID.sub(rf"\1{figure.name}-", text)
    return Markup(text.replace("<svg ", '<svg aria-hidden="true" ', 1))


def _wide(spec: dict[str, Any]) -> dict[str, Any]:
    return {**spec, "width": _WIDTH} if spec.get("width") == "container" else spec


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
