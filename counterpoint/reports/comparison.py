"""Compared runs as one picture: the differences with their intervals, and the accuracies of every group."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

from counterpoint.errors import counted
from counterpoint.experiments.compared import Compared
from counterpoint.reports.compared_table import titles
from counterpoint.reports.drawing import pdf, png, svg
from counterpoint.reports.figure import Figure
from counterpoint.reports.figures.forest import SCHEMA, forest
from counterpoint.reports.figures.map import map_of

_WIDTH = 560
"""The width of what would take that of a page."""
_WIDEST = 120
"""Characters of a line of the title."""
_MOST_NOTES = 8
_FORMATS: Mapping[str, Callable[[Figure], bytes]] = {
    ".svg": lambda figure: svg(figure).encode("utf-8"),
    ".pdf": pdf,
    ".png": png,
}


def save_comparison(found: Compared, out: Path) -> None:
    """`out` holds the picture, in the format that its extension names."""
    out.write_bytes(_FORMATS[out.suffix](comparison(found)))


def comparison(found: Compared) -> Figure:
    """The differences, then the map, below the verdict in words and what a reader must know."""
    figures = [one for one in (forest(found), map_of(found)) if one is not None]
    title = {"text": _wrapped(found.sentences), "subtitle": _wrapped(_notes(found)), "fontSize": 12, "limit": 0}
    data = {f"{figure.name}-{name}": frame for figure in figures for name, frame in figure.data.items()}
    return Figure(
        name="comparison",
        title="Runs compared",
        says=" ".join(figure.says for figure in figures),
        spec={
            "$schema": SCHEMA,
            "title": {**title, "anchor": "start"},
            "spacing": 32,
            "vconcat": [_part(figure.spec, figure.name) for figure in figures],
            "resolve": {"scale": {"color": "independent", "shape": "independent"}},
        },
        data=data,
    )


def _part(spec: Any, name: str) -> Any:
    """The specification as a part of another: with a width of its own, and names of data that no other part has."""
    if isinstance(spec, Mapping):
        named = {key: _part(value, name) for key, value in spec.items() if key != "$schema"}
        if "data" in spec:
            named["data"] = {"name": f"{name}-{spec['data']['name']}"}
        return {**named, "width": _WIDTH} if spec.get("width") == "container" else named
    return [_part(one, name) for one in spec] if isinstance(spec, list) else spec


def _notes(found: Compared) -> list[str]:
    """The lines below the verdict: what the intervals are over, and what a reader must know."""
    base = titles(found)
    told = [*([base.difference] if found.team else []), *([base.accuracy] if len(found.blocks) == 1 else [])]
    notes = [f"note: {warning}" for warning in found.warnings]
    left_out = len(notes) - _MOST_NOTES
    return [*told, *notes[:_MOST_NOTES], *([f"and {counted(left_out, 'note')} more"] if left_out > 0 else [])]


def _wrapped(lines: Sequence[str]) -> list[str]:
    """The lines, none wider than the picture."""
    return [part for line in lines for part in wrap(line, _WIDEST, subsequent_indent="    ")]
