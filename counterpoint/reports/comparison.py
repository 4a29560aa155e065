"""Compared runs as one picture: the differences with their intervals, and the accuracies of every group."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

from counterpoint.errors import counted
from counterpoint.experiments.compared import Compared
from counterpoint.experiments.prevented import Prevented
from counterpoint.reports.compared_table import titles
from counterpoint.reports.drawing import pdf, png, svg
from counterpoint.reports.figure import Figure
from counterpoint.reports.figures.forest import SCHEMA, forest
from counterpoint.reports.figures.map import map_of
from counterpoint.reports.figures.prevented import prevented

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


def save_comparison(found: Compared | Prevented, out: Path) -> None:
    """`out` holds the picture, in the format that its extension names."""
    drawn = prevention(found) if isinstance(found, Prevented) else comparison(found)
    out.write_bytes(_FORMATS[out.suffix](drawn))


def comparison(found: Compared) -> Figure:
    """The differences, then the map, below the verdict in words and what a reader must know."""
    figures = [one for one in (forest(found), map_of(found)) if one is not None]
    return _below("comparison", "Runs compared", figures, found.sentences, _notes(found))


def prevention(found: Prevented) -> Figure:
    """The differences from the reference, over the cells and in each, below the result in words."""
    figures = [one for one in (prevented(found.pooled, found), prevented(found.cells, found)) if one is not None]
    return _below("prevention", "Labels against one", figures, found.sentences, _cut(found.warnings))


def _below(name: str, title: str, figures: Sequence[Figure], sentences: Sequence[str], notes: Sequence[str]) -> Figure:
    """The figures one below the other, under the sentences and the notes."""
    head = {"text": _wrapped(sentences), "subtitle": _wrapped(notes), "fontSize": 12, "limit": 0}
    return Figure(
        name=name,
        title=title,
        says=" ".join(figure.says for figure in figures),
        spec={
            "$schema": SCHEMA,
            "title": {**head, "anchor": "start"},
            "spacing": 32,
            "vconcat": [_part(figure.spec, figure.name) for figure in figures],
            "resolve": {"scale": {"color": "independent", "shape": "independent"}},
        },
        data={f"{figure.name}-{part}": frame for figure in figures for part, frame in figure.data.items()},
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
    return [*told, *_cut(found.warnings)]


def _cut(warnings: Sequence[str]) -> list[str]:
    """The first warnings as notes, and the number of the others."""
    notes = [f"note: {warning}" for warning in warnings]
    left_out = len(notes) - _MOST_NOTES
    return [*notes[:_MOST_NOTES], *([f"and {counted(left_out, 'note')} more"] if left_out > 0 else [])]


def _wrapped(lines: Sequence[str]) -> list[str]:
    """The lines, none wider than the picture."""
    return [part for line in lines for part in wrap(line, _WIDEST, subsequent_indent="    ")]
