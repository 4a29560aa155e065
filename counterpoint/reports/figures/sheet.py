"""Figures on one sheet, in columns: a picture for a paper or a README."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from counterpoint.errors import RunError
from counterpoint.reports.figure import Figure

WIDTH = 300
"""The width of a figure on a sheet."""
_INDEPENDENT = {"scale": dict.fromkeys(("color", "shape", "strokeDash"), "independent")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """Figures below each other."""

    title: str
    """Empty for none."""
    figures: Sequence[Figure | None]
    """None leaves a gap, so that the same figures of several columns stand side by side."""


def sheet(columns: Sequence[Column], *, name: str, title: str) -> Figure:
    """One figure of several. Raises RunError if there is none."""
    every = [figure for column in columns for figure in column.figures if figure is not None]
    if not every:
        raise RunError("there is nothing to draw: none of these runs recorded the numbers of this kind of picture")
    data = {}
    drawn = []
    for number, column in enumerate(columns):
        panels = []
        for row, figure in enumerate(column.figures):
            place = f"{number}_{row}_"
            data |= {} if figure is None else {f"{place}{key}": frame for key, frame in figure.data.items()}
            panels.append(_gap(_beside(columns, row)) if figure is None else _panel(figure, place))
        head = {"title": {"text": column.title, "fontSize": 14, "offset": 12}} if column.title else {}
        drawn.append({**head, "vconcat": panels, "spacing": 26, "resolve": _INDEPENDENT})
    return Figure(
        name=name,
        title=title,
        says=" ".join(f"{figure.title}. {figure.says}" for figure in every),
        spec={"hconcat": drawn, "spacing": 34, "resolve": _INDEPENDENT},
        data=data,
        table=every[0].rows(),
    )


def _panel(figure: Figure, place: str) -> dict[str, Any]:
    spec = _renamed(figure.spec, place)
    if spec.get("width") == "container":
        spec["width"] = WIDTH
    return {**spec, "title": figure.title}


def _renamed(spec: Any, place: str) -> Any:
    """The specification with `place` before the names of its data."""
    if isinstance(spec, Mapping):
        return {
            key: {**value, "name": f"{place}{value['name']}"}
            if key == "data" and "name" in value
            else _renamed(value, place)
            for key, value in spec.items()
        }
    return [_renamed(one, place) for one in spec] if isinstance(spec, list) else spec


def _beside(columns: Sequence[Column], row: int) -> int:
    """The height of a row, from a figure that is there."""
    heights = [figure.spec.get("height", 0) for column in columns if (figure := column.figures[row]) is not None]
    return max((height for height in heights if isinstance(height, int)), default=0)


def _gap(height: int) -> dict[str, Any]:
    return {"data": {"values": [{}]}, "mark": {"type": "point", "opacity": 0}, "width": WIDTH, "height": height}
