"""The jobs of a study as a table: live on a terminal, one line per change where the output goes to a file."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from counterpoint.experiments.states import Found, State
from counterpoint.progress import clock, percent

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

HEAD = ("cell", "state", "step", "validation", "s/step", "left", "last step", "attempt", "warning or problem")
_GO_FIRST = (7, 6, 4, 3, 5)
"""The columns that a narrow terminal does not get, in the order in which they go."""
_REMARK = 30
"""Characters that a remark has at least; a longer one takes several lines."""
_GAP = 2
_ORDER: tuple[State, ...] = ("running", "failed", "interrupted", "debris", "absent", "finished")
"""The states as a live table shows them that is longer than the screen: what goes on first."""
_SIGNS = {"running": "cyan", "failed": "red", "finished": "green", "interrupted": "yellow", "debris": "yellow"}


def row(name: str, found: Found) -> tuple[str, ...]:
    """The columns of a job; a dash where there is nothing to tell."""
    running = found.state == "running"
    return (
        name,
        found.state,
        f"{found.step}/{found.steps}" if found.steps is not None else "-",
        percent(found.validation).strip(),
        f"{found.seconds:.1f}" if found.seconds is not None else "-",
        clock(found.left) if running and found.left is not None else "-",
        f"{clock(found.age)} ago" if running and found.age is not None else "-",
        str(found.attempt or "-"),
        "".join(sign if sign.isprintable() else " " for sign in found.problem or found.warning) or "-",
    )


def total(found: Mapping[str, Found]) -> str:
    """One line with the number of jobs in each state: `12 finished, 2 running, 10 absent`."""
    counts = Counter(one.state for one in found.values())
    return ", ".join(f"{counts[state]} {state}" for state in reversed(_ORDER) if counts[state]) or "no cells"


def table_of(found: Mapping[str, Found], most: int | None = None, width: int = 1000) -> "Table":
    """The table; of more than `most` jobs, those that a person would look at first, and how many are not shown.

    In `width` characters that are too few for all columns, some are left out.
    """
    from rich.table import Table
    from rich.text import Text

    names = [*found]
    if most is not None and len(names) > most:
        names = sorted(names, key=lambda name: _ORDER.index(found[name].state))[:most]
        names = [name for name in found if name in set(names)]
    table = Table(box=None, pad_edge=False, header_style="bold")
    rows = {name: row(name, found[name]) for name in names}
    columns = _fitting([HEAD, *rows.values()], width)
    for place in columns:
        table.add_column(HEAD[place], no_wrap=0 < place < len(HEAD) - 1, overflow="fold")
    for name, told in rows.items():
        cells = [Text(cell) for cell in told]
        cells[1].stylize(_SIGNS.get(found[name].state, ""))
        table.add_row(*(cells[place] for place in columns))
    rest = len(found) - len(names)
    table.caption = total(found) + (f"; {rest} are not shown" if rest else "")
    table.caption_justify = "left"
    return table


def _fitting(rows: Sequence[tuple[str, ...]], width: int) -> list[int]:
    """The columns that fit beside each other; cell, state, step and remark stay in any case."""
    widths = [max(len(one[place]) for one in rows) for place in range(len(HEAD))]
    widths[-1] = min(widths[-1], _REMARK)
    columns = list(range(len(HEAD)))
    for place in _GO_FIRST:
        if sum(widths[one] + _GAP for one in columns) - _GAP <= width:
            break
        columns.remove(place)
    return columns


def print_table(found: Mapping[str, Found], console: "Console") -> None:
    """The table, once; with columns separated by two spaces where the output goes to a file."""
    if console.is_terminal:
        console.print(table_of(found, width=console.width))
        return
    rows = [HEAD, *(row(name, one) for name, one in found.items())]
    widths = [max(len(one[place]) for one in rows) for place in range(len(HEAD))]
    for one in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(one, widths, strict=True))
        console.print(line.rstrip(), markup=False, soft_wrap=True)
    console.print(total(found), markup=False, soft_wrap=True)


class Shown:
    """A watcher that shows a study on a console."""

    def __init__(self, console: "Console") -> None:
        self._console = console
        self._live: Live | None = None
        self._last: dict[str, tuple[str, ...]] = {}

    def __enter__(self) -> "Shown":
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            from rich.live import Live

            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, line: str) -> None:
        """The line is printed, above the table."""
        self._console.print(line, markup=False, soft_wrap=True)

    def show(self, found: Mapping[str, Found]) -> None:
        """The table is as it is now, or each change of a state, a step or an attempt has a line."""
        if self._live is not None:
            screen = self._console.size
            self._live.update(table_of(found, max(5, screen.height - 6), screen.width), refresh=True)
            return
        for name, one in found.items():
            cells = row(name, one)
            known = (one.state, cells[2], cells[7])
            if known != self._last.get(name, ("absent", "-", "-")):
                self._console.print(_line(cells), markup=False, soft_wrap=True)
            self._last[name] = known


def _line(cells: tuple[str, ...]) -> str:
    """The columns of a job in one line, those that say nothing left out."""
    name, state, step, validation, seconds, left, _, attempt, remark = cells
    parts = [f"step {step}" if step != "-" else "", f"validation {validation}" if validation != "-" else ""]
    parts += [f"{seconds} s/step" if seconds != "-" else "", f"{left} left" if left != "-" else ""]
    parts += [f"attempt {attempt}" if attempt not in ("-", "1") else "", remark if remark != "-" else ""]
    return f"{name}: {' | '.join([state, *filter(None, parts)])}"
