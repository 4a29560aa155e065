"""What was measured at each commit: `python -m benchmarks.history [--add FILE] [--out PAGE]`.

`--add` puts results of `python -m benchmarks --json` or `python -m benchmarks.gpu --out` into `benchmarks/history/`;
the option `--history` of `python -m benchmarks` does so at once. `--out` draws a page of all of them, `--svg` a picture
of the figures that have a target.
"""

import argparse
import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import TypeAdapter, ValidationError

from counterpoint.files import write_whole
from counterpoint.reports.drawing import svg
from counterpoint.reports.figure import Figure
from counterpoint.reports.looks import GROUP_RANGE

FOLDER = Path(__file__).parent / "history"
_PANEL = {"width": 300, "height": 130}
_ROW, _FIGURE, _PROCESSOR = "row", "figure", "processor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A figure at a commit."""

    row: str
    figure: str
    value: float
    """The median of the repeats."""
    lowest: float | None
    highest: float | None
    """None where they were not kept."""
    target: str | None
    """Such as `>= 4`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a run of the benchmarks found: a file of `benchmarks/history/`."""

    date: str
    """Of the measurement: 2026-11-26."""
    commit: str
    processor: str
    """What the figures are of: the processor, or the GPU."""
    versions: Mapping[str, str]
    threads: int
    source: str
    """`measured`, or where the figures come from if no run wrote them here."""
    rows: Sequence[Measured]

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.date}-{self.commit}-{re.sub('[^a-z0-9]+', '-', self.processor.lower()).strip('-')}.json"


def entry_of(found: Mapping[str, Any]) -> Entry:
    """The entry of what a run wrote as JSON.

    Raises ValueError if its sizes are too small to be quoted, or no run of the benchmarks has written this.
    """
    try:
        return _entry(found)
    except (KeyError, TypeError, AttributeError) as error:
        why = f"{type(error).__name__}: {error}"
        raise ValueError(f"this was not written by python -m benchmarks or benchmarks.gpu: {why}") from error


def _entry(found: Mapping[str, Any]) -> Entry:
    setting, machine = found["setting"], found["machine"]
    if setting["tiny"] or setting.get("quick"):
        raise ValueError("a quick or tiny run is none to be kept: its work is too small to be compared")
    on_a_gpu = setting["device"] != "cpu"
    return Entry(
        date=machine["date"],
        commit=machine["commit"],
        processor=machine["gpu"] if on_a_gpu else machine["processor"],
        versions=machine["versions"],
        threads=setting["threads"],
        source="measured",
        rows=[_measured(row, one) for row, figures in found["rows"].items() for one in figures if "value" in one],
    )


def write(entry: Entry, folder: Path = FOLDER) -> Path:
    """The file that holds the entry now, and the rows that an earlier entry of its name has beside those of this one.

    Raises ValueError if that was measured with other versions or threads, or is no entry.
    """
    folder.mkdir(exist_ok=True)
    path = folder / entry.name
    earlier = _read(path) if path.is_file() else entry
    for key in ("versions", "threads", "source"):
        there, here = getattr(earlier, key), getattr(entry, key)
        if there != here:
            raise ValueError(f"{path} is there with other {key}, {there} and not {here}: move it away, or commit first")
    anew = {one.row for one in entry.rows}
    whole = replace(entry, rows=[*(one for one in earlier.rows if one.row not in anew), *entry.rows])
    write_whole(path, json.dumps(asdict(whole), indent=1) + "\n")
    return path


def read(folder: Path = FOLDER) -> list[Entry]:
    """All entries, the earliest first. Raises ValueError, with its name, for a file that holds none."""
    return sorted((_read(path) for path in sorted(folder.glob("*.json"))), key=lambda entry: entry.date)


def _read(path: Path) -> Entry:
    try:
        return TypeAdapter(Entry).validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ValueError(f"{path} is no entry of the history: {where}: {first['msg']}") from None


def figures(entries: Sequence[Entry]) -> list[Figure]:
    """One for each row of the benchmarks: a panel per figure, a line per processor over commits, and the target."""
    rows = dict.fromkeys(one.row for entry in entries for one in entry.rows)
    return [_figure(entries, row, lambda one, row=row: one.row == row) for row in rows]


def with_targets(entries: Sequence[Entry]) -> Figure:
    """All figures that have a target in the latest entry that holds them. Raises ValueError if none has."""
    latest = {(one.row, one.figure): one.target for entry in entries for one in entry.rows}
    if not any(latest.values()):
        raise ValueError("no figure has a target, and the picture is of those that have one")
    return _figure(entries, "targets", lambda one: latest[one.row, one.figure] is not None)


def page(entries: Sequence[Entry]) -> str:
    """All figures, as HTML that needs no script."""
    parts = "\n".join(
        f"<h2>{html.escape(one.title)}</h2>\n<p>{html.escape(one.says)}</p>\n{svg(one)}" for one in figures(entries)
    )
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Benchmarks over commits</title>
<style>body {{ font-family: system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
svg {{ max-width: 100%; height: auto }}</style>
<h1>Benchmarks over commits</h1>
{parts}
</html>
"""


def _measured(row: str, found: Mapping[str, Any]) -> Measured:
    return Measured(
        row=row,
        figure=found["name"],
        value=found["value"],
        lowest=min(found["values"]),
        highest=max(found["values"]),
        target=found["target"],
    )


def _figure(entries: Sequence[Entry], name: str, chosen: Any) -> Figure:
    rows = pl.DataFrame(list(_rows(entries, chosen)))
    panels = [_panel(rows, *key) for key in rows.select(_ROW, _FIGURE).unique(maintain_order=True).rows()]
    commits = rows["commit"].n_unique()
    return Figure(
        name=name,
        title=name,
        says=f"Medians and, as thin lines, the lowest and highest repeat, at {commits} commits; dashed: the target.",
        spec={"concat": panels, "columns": 2, "data": {"name": "rows"}, "resolve": {"scale": {"y": "independent"}}},
        data={"rows": rows},
    )


def _rows(entries: Sequence[Entry], chosen: Any) -> Iterable[dict[str, Any]]:
    for entry in entries:
        for one in filter(chosen, entry.rows):
            bound = None if one.target is None else float(one.target.split()[1])
            yield {
                "commit": f"{entry.date} {entry.commit}",
                _PROCESSOR: entry.processor,
                _ROW: one.row,
                _FIGURE: one.figure,
                "value": one.value,
                "low": one.value if one.lowest is None else one.lowest,
                "high": one.value if one.highest is None else one.highest,
                "bound": bound,
            }


def _panel(rows: pl.DataFrame, row: str, figure: str) -> dict[str, Any]:
    """Lines over commits, one for each processor."""
    own = rows.filter((pl.col(_ROW) == row) & (pl.col(_FIGURE) == figure))
    scale = {"zero": False, "padding": 8, "nice": True}
    x = {"field": "commit", "type": "ordinal", "title": None, "axis": {"labelAngle": 0, "labelLimit": 140}}
    y = {"field": "value", "type": "quantitative", "title": None, "scale": scale}
    processors = rows[_PROCESSOR].unique(maintain_order=True).to_list()
    colour = {
        "field": _PROCESSOR,
        "type": "nominal",
        "scale": {"domain": processors, "range": GROUP_RANGE},
        "legend": {"orient": "bottom", "title": None, "columns": 1, "labelLimit": 600},
    }
    same = f"datum.{_ROW} === {json.dumps(row)} && datum.{_FIGURE} === {json.dumps(figure)}"
    dashed = {"type": "rule", "strokeDash": [4, 3], "style": "muted"}
    layers: list[dict[str, Any]] = [
        {"mark": {"type": "rule", "strokeWidth": 1}, "encoding": {"y": {**y, "field": "low"}, "y2": {"field": "high"}}},
        {"mark": {"type": "line", "point": True}, "encoding": {"y": y}},
    ]
    if own["bound"].is_not_null().any():
        bound = own["bound"].drop_nulls().to_list()[-1]
        layers.append({"mark": dashed, "encoding": {"x": None, "color": None, "y": {"datum": bound}}})
    return {
        **_PANEL,
        "title": f"{row}: {figure}" if row not in figure else figure,
        "transform": [{"filter": same}],
        "encoding": {"x": x, "color": colour},
        "layer": layers,
    }


def _measured_in(path: Path) -> Entry:
    """The entry of a file that a run wrote. Raises ValueError, with its name, if there is none in it."""
    try:
        return entry_of(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.history", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=FOLDER, help="of the entries")
    parser.add_argument("--add", type=Path, nargs="*", default=[], metavar="FILE", help="results to keep")
    parser.add_argument("--out", type=Path, metavar="PAGE", help="a page of everything, as HTML")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="a picture of the figures that have a target")
    given = parser.parse_args(arguments)
    try:
        for path in given.add:
            print(write(_measured_in(path), given.folder))
        entries = read(given.folder)
        if given.out is not None:
            given.out.write_text(page(entries), encoding="utf-8")
        if given.svg is not None:
            given.svg.write_text(svg(with_targets(entries)) + "\n", encoding="utf-8")
    except (OSError, ValueError) as error:
        parser.error(str(error))
    for entry in entries:
        print(f"{entry.date} {entry.commit} {entry.processor}: {len(entry.rows)} figures, {entry.source}")


if __name__ == "__main__":
    main()
