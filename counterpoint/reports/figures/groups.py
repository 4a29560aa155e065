"""The groups that are compared: a colour and a shape for each, and the words around them."""

from collections.abc import Iterable, Sequence
from math import ceil, floor
from textwrap import wrap
from typing import Any

from counterpoint.experiments.groups import printable
from counterpoint.reports.looks import DASHES, GROUP_RANGE, SHAPES

OTHER_SHAPES = ("triangle-down", "diamond", "cross", "triangle-right", "triangle-left", "triangle-up")
"""As many as there are colours of groups (`looks.Palette.groups`)."""
LABEL = 26
"""Characters of a line of a row's label."""


def ordered(groups: Sequence[str]) -> list[str]:
    """The groups as the domain of a scale: shared and isolated first, even if absent, so that they keep their marks."""
    return list(dict.fromkeys([*SHAPES, *groups]))


def shapes(groups: Sequence[str]) -> list[str]:
    """The shape of each of the ordered groups: no two of up to 36 others have the same colour and shape."""
    count = len(OTHER_SHAPES)
    others = range(len(ordered(groups)) - len(SHAPES))
    return [*SHAPES.values(), *(OTHER_SHAPES[(place + place // count) % count] for place in others)]


def colour(groups: Sequence[str], field: str = "group") -> dict[str, Any]:
    """The colour of a group, without a legend: groups are named beside their marks."""
    scale = {"domain": ordered(groups), "range": GROUP_RANGE}
    return {"field": field, "type": "nominal", "legend": None, "scale": scale}


def shape(groups: Sequence[str], field: str = "group") -> dict[str, Any]:
    """The shape of a group, without a legend."""
    scale = {"domain": ordered(groups), "range": shapes(groups)}
    return {"field": field, "type": "nominal", "legend": None, "scale": scale}


def dashes(groups: Sequence[str]) -> list[list[int]]:
    """The pattern of the line of each of the ordered groups: with its colour it is unique among up to 24 others."""
    count = len(OTHER_SHAPES)
    others = range(len(ordered(groups)) - len(SHAPES))
    return [list(DASHES[0])] * len(SHAPES) + [list(DASHES[place // count % len(DASHES)]) for place in others]


def lines(text: str, width: int) -> str:
    """The text in lines of at most this many characters; a word that is longer is divided."""
    return "\n".join(wrap(text, width)) or text


SPLIT = "split(datum.label, '\\n')"
"""The expression that draws the lines of a label of an axis or a header below one another."""


def labels(names: Iterable[str], width: int = LABEL) -> dict[str, str]:
    """Name -> the label of its row: in few lines, and unlike that of any other."""
    found: dict[str, str] = {}
    taken: dict[str, int] = {}
    for name in dict.fromkeys(names):
        label = lines(shown(printable(name) or "-", 3 * width - 6), width)
        taken[label] = taken.get(label, 0) + 1
        found[name] = label if taken[label] == 1 else f"{label} ({taken[label]})"
    return found


def shown(text: str, most: int) -> str:
    """The text, with its middle left out if it is longer."""
    if len(text) <= most:
        return text
    half = (most - 1) // 2
    return f"{text[:half]}…{text[len(text) - (most - 1 - half) :]}"


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers from low to high, as many as there is room for."""
    found: list[float] = []
    for step in (0.5, 0.25, 0.2, 0.1, 0.05, 0.02, 0.01):
        places = range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)
        if found and len(places) > most:
            break
        found = [round(place * step, 4) for place in places] or found
    return found
