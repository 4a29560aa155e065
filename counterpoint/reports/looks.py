"""Colours, shapes and fonts of every figure and page, in light and in dark.

Colours are Okabe and Ito's or of their kind: people who are colour-blind can tell them apart. Sharing has a colour
*and* a shape; a role has the same colour in every figure of a page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Theme = Literal["light", "dark"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Palette:
    """The colours of a theme."""

    background: str
    ink: str
    """Text, axes and marks that stand for nothing in particular."""
    muted: str
    """Labels of axes, and lines that are context."""
    grid: str
    band: str
    """Areas behind marks, such as the margin within which methods are alike."""
    sharing: Mapping[str, str]
    """shared, isolated -> colour."""
    roles: Sequence[str]
    """Colours of roles, in their order; of policies and runs too, where these are what is compared."""
    groups: Sequence[str]
    """Colours of compared groups that are no sharing, in their order."""


PALETTES: Mapping[Theme, Palette] = {
    "light": Palette(
        background="#ffffff",
        ink="#1a1d21",
        muted="#5a6270",
        grid="#e4e7eb",
        band="#eceff3",
        sharing={"shared": "#0072b2", "isolated": "#d55e00"},
        roles=("#1e3067", "#f95a24", "#ad60fb", "#049f9f", "#671e1e"),
        groups=("#008060", "#b8578f", "#7a5195", "#8a6d00", "#1a1d21", "#5a6270"),
    ),
    "dark": Palette(
        background="#14181d",
        ink="#e6e9ed",
        muted="#a3acb8",
        grid="#2b323a",
        band="#222932",
        sharing={"shared": "#56b4e9", "isolated": "#f0904a"},
        roles=("#2c7c96", "#dfdf20", "#06f9bc", "#9e42fa", "#aa6118"),
        groups=("#2fc79a", "#e3a5c8", "#b8a1f5", "#e2c04a", "#e6e9ed", "#a3acb8"),
    ),
}
SHAPES: Mapping[str, str] = {"shared": "circle", "isolated": "square"}
SHARING_RANGE, ROLE_RANGE, GROUP_RANGE = "sharing", "category", "groups"
"""The names under which a specification asks for these colours: `alt.Scale(domain=..., range="category")`."""
STYLES = ("ink", "muted", "grid", "band", "background")
"""Colours that a mark can have by its style: `mark_rect(style="band")`."""
SMALLEST = 11
"""The smallest size of text."""


def config(theme: Theme) -> dict[str, Any]:
    """The Vega-Lite configuration of a theme, which every program that draws a figure adds to its specification."""
    palette = PALETTES[theme]
    text = {"labelColor": palette.muted, "titleColor": palette.ink, "labelFontSize": SMALLEST, "titleFontSize": 12}
    sharing = [palette.sharing[name] for name in SHAPES]
    return {
        "background": palette.background,
        "font": "system-ui, sans-serif",
        "view": {"stroke": None},
        "axis": {**text, "gridColor": palette.grid, "domainColor": palette.muted, "tickColor": palette.muted},
        "legend": text,
        "header": text,
        "title": {"color": palette.ink, "subtitleColor": palette.muted, "anchor": "start"},
        "text": {"color": palette.ink, "fontSize": SMALLEST},
        "rule": {"color": palette.ink},
        "style": {name: {"color": getattr(palette, name)} for name in STYLES},
        "range": {"category": list(palette.roles), "sharing": sharing, "groups": [*sharing, *palette.groups * 6]},
    }
