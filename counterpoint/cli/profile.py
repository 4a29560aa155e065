"""Where the time of a run went, as a table."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from counterpoint.errors import counted

ELSE = "all else"


def print_profile(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    """A row a lap and, indented, a row for each of its parts, the largest first; `rows` are of `profile.jsonl`."""
    own: dict[str, float] = {}
    for row in rows:
        for path, seconds in row.items():
            if path != "step":
                own[path] = own.get(path, 0.0) + seconds
    whole, steps = sum(own.values()), sum(row["step"] > 0 for row in rows)
    took = f"{whole:.1f} s, {counted(steps, 'step')} and the evaluation before them"
    console.print(f"\nwhere the time went: {took}", soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("", "seconds", "share"):
        table.add_column(column, justify="left" if column == "" else "right", no_wrap=True)
    for label, seconds in lines(own):
        table.add_row(label, f"{seconds:.2f}", f"{100 * seconds / whole:.1f}%")
    console.print(table)


def lines(own: Mapping[str, float], above: str = "", depth: int = 0) -> list[tuple[str, float]]:
    """Label and seconds of everything under the path `above`: its parts with all of theirs, then what was in none."""
    names = dict.fromkeys(path.removeprefix(above).partition("/")[0] for path in own if path.startswith(above))
    found: list[tuple[str, float]] = []
    for name in sorted(names, key=lambda name: -_total(own, above + name)) if depth else names:
        path = above + name
        inner = lines(own, f"{path}/", depth + 1)
        found += [("  " * depth + name, _total(own, path)), *inner]
        if inner and path in own:
            found.append(("  " * (depth + 1) + ELSE, own[path]))
    return found


def _total(own: Mapping[str, float], path: str) -> float:
    return sum(seconds for other, seconds in own.items() if other == path or other.startswith(f"{path}/"))
