"""The map of a study: in every cell base, peak and end of the groups that are compared, their falls, and a verdict."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from counterpoint.errors import counted
from counterpoint.experiments.compared import PRIMARY, TEAM, Compared, Difference, GroupLevel, shown_accuracy
from counterpoint.experiments.groups import printable
from counterpoint.reports.compared_table import accuracy_base
from counterpoint.reports.figure import Figure
from counterpoint.reports.figures.groups import SPLIT, colour, lines, shape, shown, ticks

if TYPE_CHECKING:
    import polars as pl

ROW_AXES = ("workflow", "task")
"""Axes whose labels make rows; those of others make columns as far as these fit."""
MOST_COLUMNS = 4
WIDTH = 640
"""The width of all cells of a row together."""
NARROWEST, WIDEST = 150, 320
STEP = 28
"""The height of the dumbbell of a group, and of the two lines of words above."""
WORDS = {"peak": "peak", "kept": "end"}
_TITLE = "accuracy on test tasks"
_HEADER = {"labelAnchor": "start", "labelFontWeight": "bold", "labelPadding": 4, "labelLineHeight": 13}
_BOLD = 6.4
"""The width of a character of a cell's name."""
_FREE = 56
"""The width at the right of a cell that is kept free for the number of falls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grid:
    """The places of the cells."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    places: Mapping[str, tuple[str, str]]
    """Block -> row and column; with one block, part (team or role) -> row and column."""
    empty: Mapping[tuple[str, str], Mapping[str, str]]
    """The places without a block, with the labels that it would have."""

    @property
    def width(self) -> int:
        """The width of a cell."""
        return max(NARROWEST, min(WIDEST, WIDTH // len(self.columns)))


def map_of(found: Compared, excluded: Mapping[str, str] | None = None) -> Figure | None:
    """The team in every cell or, with one cell, the team and every role; None without a finished run.

    `excluded` has the reasons for which a study leaves cells out.
    """
    if not found.levels:
        return None
    grid = _grid(found)
    groups = list(dict.fromkeys(group.name for block in found.blocks for group in block.groups))
    rows = [*_rows(found, grid), *_notes(found, grid, groups, excluded or {})]
    return Figure(
        name="map",
        title="Accuracy at base, peak and end",
        says=_says(found, groups),
        spec=_spec(grid, groups, _domain(rows, grid.width)),
        data={"rows": _frame(rows)},
        table=map_table(found),
    )


def map_table(found: Compared) -> "pl.DataFrame":
    """A row per cell and group, as percentages in words: the map for those who read a list."""
    import polars as pl

    rates = {(one.block, one.group): one.rate for one in found.falls}
    is_one = len(found.blocks) == 1
    rows = []
    for one in (one for one in found.levels if is_one or one.who == TEAM):
        rate = rates.get((one.block, one.group))
        rows.append(
            {
                **({"cell": one.block} if not is_one else {"part": one.who}),
                "group": one.group,
                **{name: _percent(getattr(one, name)) for name in ("base", "peak", "terminal")},
                "seeds": one.peak.seeds,
                "fell": rate.short if rate is not None and one.who == TEAM else "",
                "verdict": "; ".join(_verdicts(found, one.block, one.who)),
            }
        )
    return pl.DataFrame(rows, infer_schema_length=None)


def _says(found: Compared, groups: Sequence[str]) -> str:
    compared = [block for block in found.blocks if any(group.runs for group in block.groups)]
    where = f"in {counted(len(compared), 'cell')}" if len(found.blocks) > 1 else "of the team and of every role"
    falls = {name: [one.rate for one in found.falls if one.group == name] for name in groups}
    fell = ", ".join(f"{name} {sum(r.fell for r in own)} of {sum(r.told for r in own)}" for name, own in falls.items())
    unclear = sum(one.rate.cannot_tell + one.rate.missing for one in found.falls)
    more = f"; of {counted(unclear, 'run')} it cannot be told" if unclear else ""
    return (
        f"Accuracy on test tasks {where}: {accuracy_base(found)}. The upright tick is the base, the triangle the peak,"
        f" the other mark the end, and a thick bar its interval. Fell: {fell}{more}."
    )


def _grid(found: Compared) -> _Grid:
    if len(found.blocks) == 1:
        who = tuple(dict.fromkeys(one.who for one in found.levels))
        return _Grid(rows=who, columns=("",), places={one: (one, "") for one in who}, empty={})
    axes = {axis: tuple(dict.fromkeys(block.labels[axis] for block in found.blocks)) for axis in found.blocks[0].labels}
    across: list[str] = []
    count = 1
    for axis, labels in axes.items():
        if axis not in ROW_AXES and count * len(labels) <= MOST_COLUMNS:
            across.append(axis)
            count *= len(labels)
    down = [axis for axis in axes if axis not in across]
    places = {block.name: _place(block.labels, down, across) for block in found.blocks}
    taken = set(places.values())
    rows = tuple(dict.fromkeys(row for row, _ in places.values()))
    every = [dict(zip(axes, labels, strict=True)) for labels in product(*axes.values())]
    there = {column for _, column in taken}
    columns = tuple(dict.fromkeys(column for own in every if (column := _place(own, down, across)[1]) in there))
    empty = {
        place: own
        for own in every
        if (place := _place(own, down, across)) not in taken and place[0] in rows and place[1] in columns
    }
    return _Grid(rows=rows, columns=columns, places=places, empty=empty)


def _place(labels: Mapping[str, str], down: Sequence[str], across: Sequence[str]) -> tuple[str, str]:
    row, column = (", ".join(labels[axis] for axis in axes) for axes in (down, across))
    return row, column


def _cell(place: tuple[str, str], grid: _Grid) -> str:
    """The name of a cell, in lines that are no wider than it."""
    return lines(", ".join(part for part in place if part), int(grid.width / _BOLD))


def _rows(found: Compared, grid: _Grid) -> Iterator[dict[str, Any]]:
    rates = {(one.block, one.group): one.rate for one in found.falls}
    width = _characters(grid)
    seen: set[tuple[str, str]] = set()
    for one in found.levels:
        place = grid.places.get(one.block if len(found.blocks) > 1 else one.who)
        if place is None or (len(found.blocks) > 1 and one.who != TEAM):
            continue
        rate = rates.get((one.block, one.group))
        words_are_due = place not in seen
        words = _verdicts(found, one.block, one.who) if words_are_due else []
        seen.add(place)
        yield {
            "row": place[0],
            "column": place[1],
            "cell": _cell(place, grid),
            "group": one.group,
            **_numbers(one),
            "fell": f"fell {rate.fell}/{rate.told}" if rate is not None and rate.told and one.who == TEAM else "",
            "words": "\n".join(shown(line, width) for line in words),
            "note": "",
        }


def _notes(
    found: Compared, grid: _Grid, groups: Sequence[str], excluded: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    """Words where a cell has nothing to draw."""
    width = _characters(grid)
    there = {one.block for one in found.levels}
    told = {place: "no finished run" for name, place in grid.places.items() if name not in there}
    if len(found.blocks) == 1:
        told = {}
    for block in found.blocks if len(found.blocks) > 1 else ():
        for name in [group.name for group in block.groups if not group.runs] if block.name in there else ():
            row, column = grid.places[block.name]
            words = {"fell": "no finished run", "words": "", "note": ""}
            yield {"row": row, "column": column, "cell": _cell((row, column), grid), "group": name, **words}
    for place, labels in grid.empty.items():
        told[place] = _why(labels, excluded)
    for (row, column), note in told.items():
        words = {"fell": "", "words": "", "note": lines(shown(note, 4 * width), width)}
        yield {"row": row, "column": column, "cell": _cell((row, column), grid), "group": groups[0], **words}


def _why(labels: Mapping[str, str], excluded: Mapping[str, str]) -> str:
    """The reason for which a cell is not there, as far as the study gives one."""
    own = {f"{axis} = {label}" for axis, label in labels.items()}
    reasons = [reason for where, reason in excluded.items() if own.issuperset(where.split(", "))]
    return printable(f"left out: {reasons[0]}") if reasons else "not in the study"


def _characters(grid: _Grid) -> int:
    """The number of characters that a line of a cell has room for."""
    return int(grid.width / 5.6)


def _numbers(one: GroupLevel) -> dict[str, float]:
    found: dict[str, float] = {}
    for name in ("base", "peak", "terminal"):
        value, low, high = shown_accuracy(getattr(one, name))
        found |= {name: value, f"{name}_low": low, f"{name}_high": high}
    return found


def _verdicts(found: Compared, block: str, who: str) -> list[str]:
    """A verdict in words for each amount that is compared: of two groups by name, of more by count."""
    own = [one for one in found.differences if one.block == block and one.who == who]
    told = []
    for amount in PRIMARY:
        pairs = [one for one in own if one.amount == amount]
        if len(pairs) == 1:
            told.append(f"{WORDS[amount]}: {_verdict(pairs[0])}")
        elif pairs:
            ahead = sum(one.found.verdict == "ahead" for one in pairs)
            told.append(f"{WORDS[amount]}: {ahead} of {len(pairs)} pairs differ")
    return told


def _verdict(one: Difference) -> str:
    if one.found.verdict == "ahead":
        return f"{one.found.leader} +{100 * abs(one.found.shown[0]):.1f}"
    return one.found.verdict


def _percent(level: Any) -> str:
    value, low, high = (100 * part for part in shown_accuracy(level))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def _domain(rows: Sequence[Mapping[str, Any]], width: int) -> tuple[float, float, float]:
    """The ends of the axis, and where its numbers end."""
    parts = ("base", "peak_low", "peak_high", "peak", "terminal", "terminal_low", "terminal_high")
    values = [row[part] for row in rows for part in parts if part in row]
    low, high = min(values), max(values)
    span = max(high - low, 0.05)
    return low - 0.05 * span, high + span * _FREE / (width - _FREE), high


def _frame(rows: Sequence[Mapping[str, Any]]) -> "pl.DataFrame":
    import polars as pl

    numbers = [f"{name}{end}" for name in ("base", "peak", "terminal") for end in ("", "_low", "_high")]
    schema = {
        **dict.fromkeys(("row", "column", "cell", "group"), pl.String),
        **dict.fromkeys(numbers, pl.Float64),
        **dict.fromkeys(("fell", "words", "note"), pl.String),
    }
    return pl.DataFrame(list(rows), schema=schema)


def _spec(grid: _Grid, groups: Sequence[str], domain: tuple[float, float, float]) -> dict[str, Any]:
    x = {
        "type": "quantitative",
        "title": _TITLE,
        "scale": {"domain": list(domain[:2]), "zero": False, "nice": False},
        "axis": {"format": "%", "values": ticks(domain[0], domain[2], grid.width // 40), "grid": True},
    }
    y = {
        "field": "group",
        "type": "nominal",
        "title": None,
        "scale": {"domain": [" ", *groups], "paddingOuter": 0},
        "axis": {"domain": False, "ticks": False, "labelLimit": 120, "labelPadding": 6},
    }
    cells = [_cell(place, grid) for place in product(grid.rows, grid.columns)]
    header = {**_HEADER, "labelExpr": SPLIT}
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "data": {"name": "rows"},
        "facet": {"field": "cell", "type": "nominal", "title": None, "sort": cells, "header": header},
        "columns": len(grid.columns),
        "spacing": {"row": 14, "column": 12},
        "spec": {
            "width": grid.width,
            "height": STEP * (1 + len(groups)),
            "layer": list(_layers(x, y, groups)),
        },
    }


def _layers(x: Mapping[str, Any], y: Mapping[str, Any], groups: Sequence[str]) -> Iterator[dict[str, Any]]:
    hue = colour(groups)
    outline = shape(groups)

    def at(name: str) -> dict[str, Any]:
        return {**x, "field": name}

    def mark(kind: str, **more: Any) -> dict[str, Any]:
        return {"type": kind, **more}

    up, down = -5, 5
    yield {
        "mark": mark("rule", strokeWidth=1),
        "encoding": {"x": at("base"), "x2": {"field": "peak"}, "y": y, "color": hue},
    }
    for name, offset in (("peak", up), ("terminal", down)):
        yield {
            "mark": mark("rule", strokeWidth=4, opacity=0.4, yOffset=offset, strokeCap="butt"),
            "encoding": {"x": at(f"{name}_low"), "x2": {"field": f"{name}_high"}, "y": y, "color": hue},
        }
    yield {"mark": mark("tick", thickness=2, size=12, opacity=1), "encoding": {"x": at("base"), "y": y, "color": hue}}
    peak = mark("point", shape="triangle-up", filled=True, size=64, opacity=1, yOffset=up)
    yield {"mark": peak, "encoding": {"x": at("peak"), "y": y, "color": hue}}
    end = mark("point", filled=True, size=52, opacity=1, yOffset=down)
    yield {"mark": end, "encoding": {"x": at("terminal"), "y": y, "color": hue, "shape": outline}}
    yield {
        "mark": mark("text", align="right", style="muted"),
        "encoding": {"text": {"field": "fell"}, "x": {"value": "width"}, "y": y},
    }
    words = mark("text", align="left", baseline="top", lineBreak="\n", lineHeight=13)
    yield {"mark": words, "encoding": {"text": {"field": "words"}, "x": {"value": 0}, "y": {"value": 0}}}
    note = mark("text", align="left", baseline="top", lineBreak="\n", lineHeight=13, style="muted", fontStyle="italic")
    yield {"mark": note, "encoding": {"text": {"field": "note"}, "x": {"value": 0}, "y": {"value": 0}}}
