#!/usr/bin/env python
"""Print runs as Markdown: base, peak, terminal, gain and drop on the test split, for the team and for each role.

    python scripts/table_runs.py RUN RUN ...

Everything comes from each run's `summary.json`, written when it ended.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from counterpoint.run import Run

COLUMNS = ("run", "who", "base", "peak (step)", "terminal", "gain", "drop")
BEHAVIOUR = ("run", "what", "base", "peak", "terminal")


def summary(run: Run) -> dict[str, Any]:
    return dict(json.loads((run.path / "summary.json").read_text()))


def accuracy_rows(run: Run) -> Iterable[list[str]]:
    found = summary(run)
    for who, course in {"team": found, **found["roles"]}.items():
        name = run.config.cell if who == "team" else ""
        peak = f"{percent(course['peak'])} ({found['peak_step']})" if who == "team" else percent(course["peak"])
        changes = [with_interval(course[what]) for what in ("gain", "drop")]
        yield [name, who, percent(course["base"]), peak, percent(course["terminal"]), *changes]


def behaviour_rows(run: Run) -> Iterable[list[str]]:
    """What the roles did, where it says anything."""
    for place, (name, stages) in enumerate(summary(run)["behaviour"].items()):
        if any(stages.values()):
            what = name.removeprefix("role/").replace("episode/oracle", "any answer right").replace("_", " ")
            amounts = [amount(name, stages[stage]) for stage in ("base", "peak", "terminal")]
            yield [run.config.cell if place == 0 else "", what.replace("/", ": "), *amounts]


def percent(interval: Mapping[str, float] | None) -> str:
    return "-" if interval is None else f"{100 * interval['value']:.1f}"


def with_interval(interval: Mapping[str, float] | None) -> str:
    if interval is None:
        return "-"
    return f"{100 * interval['value']:+.1f} [{100 * interval['low']:.1f}, {100 * interval['high']:.1f}]"


def amount(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if name.endswith(("/calls", "/tokens")) else f"{100 * value:.0f} %"


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(columns), ["---"] * len(list(columns)), *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    runs = [Run.read(Path(path)) for path in sys.argv[1:]]
    if not runs:
        sys.exit(__doc__)
    print(table(COLUMNS, [row for run in runs for row in accuracy_rows(run)]))
    print()
    print(table(BEHAVIOUR, [row for run in runs for row in behaviour_rows(run)]))
