"""Figures as a person reads them, and as a file keeps them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from rich import box
from rich.table import Table

from benchmarks.base import Figure, Missing, Setting

Rows = Mapping[str, Sequence[Figure | Missing]]
"""Row -> what came of it."""


def line(found: Figure | Missing) -> str:
    """One figure, as soon as there is one."""
    if isinstance(found, Missing):
        return f"  {found.name}: NOT MEASURED: {found.reason}"
    parts = ", ".join(f"{name} {median(values):.3g}" for name, values in found.parts.items())
    return f"  {found.name}: {spread(found.values)}{_against(found)}; {parts}"


def table(rows: Rows, title: str) -> Table:
    shown = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("row", "figure", "median [lowest, highest]", "target", "met"):
        shown.add_column(column, justify="right" if column.startswith(("median", "target")) else "left")
    for row, figures in rows.items():
        for place, found in enumerate(figures):
            target = "" if found.target is None else str(found.target)
            name = "" if place else row
            if isinstance(found, Missing):
                shown.add_row(name, found.name, "not measured", target, "")
            else:
                shown.add_row(name, found.name, spread(found.values), target, _met(found))
    return shown


def spread(values: Sequence[float]) -> str:
    """`1.23 [1.1, 1.4]`; a single value alone."""
    middle = f"{median(values):.3g}"
    return middle if len(values) == 1 else f"{middle} [{min(values):.3g}, {max(values):.3g}]"


def write(path: Path, setting: Setting, machine: Mapping[str, Any], loads: Mapping[str, Any], rows: Rows) -> None:
    """`path` holds everything that was measured, every repeat of it."""
    path.write_text(json.dumps(plain(setting, machine, loads, rows), indent=2) + "\n", encoding="utf-8")


def plain(setting: Setting, machine: Mapping[str, Any], loads: Mapping[str, Any], rows: Rows) -> dict[str, Any]:
    """Everything that was measured, as JSON has it."""
    return {
        "machine": machine,
        "setting": asdict(setting),
        "load": loads,
        "rows": {row: [_plain(one) for one in figures] for row, figures in rows.items()},
    }


def _plain(found: Figure | Missing) -> dict[str, Any]:
    target = None if found.target is None else str(found.target)
    if isinstance(found, Missing):
        return {"name": found.name, "target": target, "not_measured": found.reason}
    return {**asdict(found), "value": found.value, "target": target, "met": found.met}


def _met(found: Figure) -> str:
    return {None: "", True: "yes", False: "NO"}[found.met]


def _against(found: Figure) -> str:
    return "" if found.target is None else f" (target {found.target}: {_met(found)})"
