"""The parts of a run that several reports read."""

import re
from collections.abc import Sequence

import polars as pl

from counterpoint.run import Run


def roles(run: Run) -> list[str]:
    """The roles of the run's workflow, in their order."""
    return list(run.facts["routing"])


def policies(run: Run) -> list[str]:
    """The policies that play the run's roles, in the order in which the roles first use them."""
    routes = run.facts["routing"].values()
    return list(dict.fromkeys(one for route in routes for one in ([route] if isinstance(route, str) else route)))


def is_shared(run: Run) -> bool:
    """True if one policy plays all roles: only then do the norms of their gradients compare them."""
    return len(policies(run)) == 1


def values(run: Run, pattern: str) -> pl.DataFrame:
    """(step, who, value) of every training metric that fits; `who` is the first group of the pattern."""
    rows = [
        (row["step"], found[1], value)
        for row in run.metric_rows()
        for name, value in row.items()
        if (found := re.fullmatch(pattern, name))
    ]
    return pl.DataFrame(rows, schema={"step": pl.Int64, "who": pl.String, "value": pl.Float64}, orient="row")


def names(runs: Sequence[Run]) -> list[str]:
    """A name for each run: the name of its folder, or its path where two folders have the same name."""
    short = [run.path.resolve().name for run in runs]
    return [name if short.count(name) == 1 else str(run.path) for name, run in zip(short, runs, strict=True)]
