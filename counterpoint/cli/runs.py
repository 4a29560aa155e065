"""`counterpoint runs`."""

from pathlib import Path

from counterpoint.cli.out import Terminal
from counterpoint.runs import RunHeader, list_runs

_HEAD = ("state", "steps", "recipe", "sharing", "seed", "validation", "path", "overrides")
_SHOWN_APART = ("policies.sharing=", "run.seed=", "run.steps=")


def print_runs(folder: Path) -> None:
    """Print one line per run in `folder`: state, steps, recipe, sharing, seed, validation accuracy, path, overrides.

    Raises RunError if there is no such folder.
    """
    console = Terminal()
    found = list_runs(folder)
    if not found:
        console.print(f"no runs in {folder}", markup=False, soft_wrap=True)
        return
    rows = [_HEAD, *(_cells(header) for header in found)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(_HEAD))]
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        console.print(line.rstrip(), markup=False, soft_wrap=True)
    for header in found:
        if header.problem:
            verb = "failed" if header.state == "failed" else "cannot be read"
            console.print(f"{header.path} {verb}: {header.problem}", markup=False, soft_wrap=True)


def _cells(header: RunHeader) -> tuple[str, ...]:
    planned, seed = ("-" if value is None else str(value) for value in (header.planned, header.seed))
    steps = f"{header.steps}/{planned}"
    validation = f"{_percent(header.base)} -> {_percent(header.last)}"
    overrides = " ".join(one for one in header.overrides.split(" ") if not one.startswith(_SHOWN_APART))
    named = (header.recipe or "-", header.sharing or "-", seed, validation, str(header.path))
    return (header.state, steps, *named, overrides)


def _percent(accuracy: float | None) -> str:
    return "-" if accuracy is None else f"{100 * accuracy:.1f} %"
