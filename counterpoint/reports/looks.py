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
    changes: Sequence[str]
    """Areas that bear text: kept right, recovered, spoiled, kept wrong."""
    diverging: Sequence[str]
    """From -1 over 0 to 1, as areas that bear text."""


PALETTES: Mapping[Theme, Palette] = {
    "light": Palette(
        background="#ffffff",
        ink="#1a1d21",
        muted="#5a6270",
        grid="#e4e7eb",
        band="#eceff3",
        sharing={"shared": "#0072b2", "isolated": "#d55e00"},
        roles=("#263e8e", "#b7882c", "#3b996a", "#802a0c", "#9786b7", "#623954"),
        groups=("#008060", "#b8578f", "#7a5195", "#8a6d00", "#1a1d21", "#5a6270"),
        changes=("#5b95d2", "#bfe6fb", "#ef9a62", "#a9a9ad"),
        diverging=("#e8a27c", "#f4f5f6", "#7fb4dd"),
    ),
    "dark": Palette(
        background="#14181d",
        ink="#e6e9ed",
        muted="#a3acb8",
        grid="#2b323a",
        band="#222932",
        sharing={"shared": "#56b4e9", "isolated": "#f0904a"},
        roles=("#6087e4", "#e6bf5d", "#66ecb5", "#bd5e92", "#c4d2ff", "#7f8047"),
        groups=("#2fc79a", "#e3a5c8", "#b8a1f5", "#e2c04a", "#e6e9ed", "#a3acb8"),
        changes=("#1d6ab0", "#0f3050", "#a34c15", "#5d5f63"),
        diverging=("#8f4a1c", "#22272e", "#1f6391"),
    ),
}
SHAPES: Mapping[str, str] = {"shared": "circle", "isolated": "square"}
SHARING_RANGE, ROLE_RANGE, GROUP_RANGE = "sharing", "category", "groups"
"""The names under which a specification asks for these colours: `alt.Scale(domain=..., range="category")`."""
CHANGE_RANGE, DIVERGING_RANGE = "changes", "diverging"
STYLES = ("ink", "muted", "grid", "band", "background")
"""Colours that a mark can have by its style: `mark_rect(style="band")`."""
CUT = "cut"
"""The style of filled marks that lie on others: a thin edge in the colour of the background."""
SMALLEST = 11
"""The smallest size of text."""
DASHES: Sequence[Sequence[int]] = ((1, 0), (6, 3), (2, 3), (8, 3, 2, 3))
"""Lines of roles beyond the number of colours have the next of these patterns."""


def dash(place: int) -> list[int]:
    """The pattern of the line of a role, by its place in the order of roles: with its colour it is unique up to 24."""
    return list(DASHES[place // len(PALETTES["light"].roles) % len(DASHES)])


def config(theme: Theme) -> dict[str, Any]:
    """The Vega-Lite configuration of a theme, which every program that draws a figure adds to its specification."""
    palette = PALETTES[theme]
    text = {"labelColor": palette.muted, "titleColor": palette.ink, "labelFontSize": SMALLEST, "titleFontSize": 12}
    sharing = [palette.sharing[name] for name in SHAPES]
    return {
        "background": palette.background,
        "font": "system-ui, sans-serif",
        "view": {"stroke": None},
        "mark": {"color": palette.ink},
        "axis": {
            **text,
            "titleFontWeight": "normal",
            "gridColor": palette.grid,
            "domainColor": palette.muted,
            "tickColor": palette.muted,
        },
        "legend": {**text, "labelLimit": 240},
        "header": text,
        "title": {"color": palette.ink, "subtitleColor": palette.muted, "anchor": "start", "fontSize": 13},
        "text": {"color": palette.ink, "fontSize": SMALLEST},
        "rule": {"color": palette.ink},
        "style": {
            **{name: {"color": getattr(palette, name)} for name in STYLES},
            CUT: {"stroke": palette.background, "strokeWidth": 1.2},
        },
        "range": {
            "category": list(palette.roles),
            "sharing": sharing,
            "groups": [*sharing, *palette.groups * 6],
            "changes": list(palette.changes),
            "diverging": list(palette.diverging),
        },
    }
