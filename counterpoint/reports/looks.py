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


PALETTES: Mapping[Theme, Palette] = {
    "light": Palette(
        background="#ffffff",
        ink="#1a1d21",
        muted="#5a6270",
        grid="#e4e7eb",
        band="#eceff3",
        sharing={"shared": "#0072b2", "isolated": "#d55e00"},
        roles=("#1e3067", "#f95a24", "#ad60fb", "#049f9f", "#671e1e"),
    ),
    "dark": Palette(
        background="#14181d",
        ink="#e6e9ed",
        muted="#a3acb8",
        grid="#2b323a",
        band="#222932",
        sharing={"shared": "#56b4e9", "isolated": "#f0904a"},
        roles=("#2c7c96", "#dfdf20", "#06f9bc", "#9e42fa", "#aa6118"),
    ),
}
SHAPES: Mapping[str, str] = {"shared": "circle", "isolated": "square"}
SHARING_RANGE, ROLE_RANGE = "sharing", "category"
"""The names under which a specification asks for these colours: `alt.Scale(domain=..., range="category")`."""


def config(theme: Theme) -> dict[str, Any]:
    """The Vega-Lite configuration of a theme, which every program that draws a figure adds to its specification."""
    palette = PALETTES[theme]
    text = {"labelColor": palette.muted, "titleColor": palette.ink}
    return {
        "background": palette.background,
        "font": "system-ui, sans-serif",
        "view": {"stroke": None},
        "axis": {**text, "gridColor": palette.grid, "domainColor": palette.muted, "tickColor": palette.muted},
        "legend": text,
        "header": text,
        "title": {"color": palette.ink, "subtitleColor": palette.muted, "anchor": "start"},
        "text": {"color": palette.ink},
        "rule": {"color": palette.ink},
        "range": {"category": list(palette.roles), "sharing": [palette.sharing[name] for name in SHAPES]},
    }
