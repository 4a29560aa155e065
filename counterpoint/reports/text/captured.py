"""Capture of a policy that several roles share: how often, by which role, and what it costs."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from counterpoint.analysis.aligned import Beside, beside
from counterpoint.analysis.contrast import CONFIDENCE
from counterpoint.analysis.falls import bracket, rate
from counterpoint.errors import counted
from counterpoint.reports.seen import CellSeen, Gathered, Seen
from counterpoint.reports.text.statement import Part, Rows, Statement, not_run, p_of, with_interval

_TITLE = "Is a shared policy captured, by whom, and what does it cost?"
_CAPTURE = "capture"
RARE = 0.1
"""The highest rate that may still be possible where the answer is no."""
LEAST = 3
"""Captured runs from which on capture counts as happening."""


class Largest(NamedTuple):
    """The shares of the gradient of a policy, in one workflow."""

    workflow: str
    role: str
    mean: float
    low: float | None
    """With `high`, the 95 % interval over runs; None with one run."""
    high: float | None
    runs: int
    captures: int
    """The runs in which this role captured the policy."""


def capture(gathered: Gathered) -> Part:
    """Runs whose policy is shared: those that were captured, by whom, and beside those that were not."""
    cells = shared_cells(gathered)
    runs = [run for cell in cells for run in cell.finished]
    if not runs:
        missing = "no run is finished in which several roles use one policy"
        return Part(title=_TITLE, statements=[not_run(missing)])
    caught = [run for run in runs if captors(run)]
    found = rate(len(caught), len(runs))
    interval = f"{len(caught)} of {counted(len(runs), 'run')} {bracket(found.low, found.high)}"
    statements = [
        Statement(
            verdict="yes" if len(caught) >= LEAST else "no" if found.at_most <= RARE else "cannot tell",
            text=f"a shared policy was captured by one role in {interval} in {counted(len(cells), 'cell')}"
            + ("" if caught else f"; a rate of up to {100 * found.at_most:.0f} % is still possible"),
        )
    ]
    statements += list(_by_whom(caught))
    statements += list(_cost(cells)) if caught else []
    shares = largest(cells)
    return Part(title=_TITLE, statements=statements, tables=list(_table(shares)))


def shared_cells(gathered: Gathered) -> list[CellSeen]:
    """The cells with a policy that several roles use, that are no control."""
    return [
        cell
        for cell in gathered.cells
        if not cell.control and cell.finished and all(run.is_shared and len(run.roles) > 1 for run in cell.finished)
    ]


def captors(run: Seen) -> list[str]:
    """The roles that captured a policy of a run."""
    return [one.where.rpartition(" by ")[2] for one in run.findings if one.signature == _CAPTURE]


def _by_whom(caught: Sequence[Seen]) -> Iterator[Statement]:
    counts = Counter(f"{role} of {run.record.workflow}" for run in caught for role in captors(run))
    if counts:
        told = [f"the {name} in {count}" for name, count in sorted(counts.items(), key=lambda one: (-one[1], one[0]))]
        yield Statement(text=f"captured by: {', '.join(told)}")


def _cost(cells: Sequence[CellSeen]) -> Iterator[Statement]:
    """The accuracy that captured runs kept over their base, beside runs of the same cell that were not captured."""
    found = cost(cells)
    if found is None:
        yield Statement(
            verdict="cannot tell",
            text="what it costs: no cell has both runs that were captured and runs that were not",
        )
        return
    told = f"captured runs kept {100 * found.fell:+z.1f} points over their base, the others {100 * found.held:+z.1f}"
    counts = f"{found.falls} captured and {found.holds} other runs of {counted(found.kinds, 'cell')}"
    if found.low is None or found.high is None or found.p_value is None:
        yield Statement(
            verdict="cannot tell",
            text=f"what it costs: {told} ({counts}); with so few runs of a cell there is no interval",
        )
        return
    verdict = found.p_value <= 1 - CONFIDENCE
    yield Statement(
        verdict=("yes" if found.value < 0 else "no") if verdict else "cannot tell",
        text=(
            f"what it costs: {told}, a difference of {with_interval(found.value, found.low, found.high)} over runs"
            f" ({counts}, {p_of(found.p_value)}); runs that are captured may differ in other ways too"
        ),
    )


def cost(cells: Sequence[CellSeen]) -> Beside | None:
    """The accuracy kept over the base of captured runs beside that of others of their cells; None without both."""
    caught: dict[str, list[float]] = {}
    others: dict[str, list[float]] = {}
    for cell in cells:
        for run in cell.finished:
            kept = _kept(run)
            if kept is not None:
                (caught if captors(run) else others).setdefault(cell.name, []).append(kept)
    return beside(caught, others)


def _kept(run: Seen) -> float | None:
    """Terminal accuracy of the team minus that of the base."""
    import polars as pl

    team = run.outcomes.filter(pl.col("role").is_null())
    values = dict(team.group_by("milestone").agg(pl.col("value").mean()).iter_rows())
    return values["terminal"] - values["base"] if {"terminal", "base"} <= values.keys() else None


def largest(cells: Sequence[CellSeen]) -> list[Largest]:
    """The mean share of every role of a shared policy over the second half of training, by workflow and over runs."""
    runs: dict[str, list[Seen]] = {}
    for cell in cells:
        for run in cell.finished:
            runs.setdefault(run.record.workflow, []).append(run)
    found = []
    for workflow, own in runs.items():
        shares = [_shares(run) for run in own]
        caught = Counter(role for run in own for role in captors(run))
        for role in dict.fromkeys(role for one in shares for role in one):
            values = [one[role] for one in shares if role in one]
            found.append(Largest(workflow, role, fmean(values), *_interval(values), len(values), caught[role]))
    return sorted(found, key=lambda one: (list(runs).index(one.workflow), -one.mean))


def _shares(run: Seen) -> Mapping[str, float]:
    """Role -> its mean share over the second half of the steps."""
    import polars as pl

    pattern = r"^gradient/[^/]+/([^/+]+)/share$"
    found = run.metrics.filter(
        pl.col("name").str.contains(pattern) & (pl.col("step") > run.record.steps // 2) & pl.col("value").is_finite()
    )
    by_role = found.group_by(pl.col("name").str.extract(pattern).alias("role")).agg(pl.col("value").mean())
    return dict(by_role.sort("role").iter_rows())


def _interval(values: Sequence[float]) -> tuple[float | None, float | None]:
    if len(values) < 2:
        return None, None
    from scipy.stats import sem
    from scipy.stats import t as student

    reach = float(student.ppf(0.5 + CONFIDENCE / 2, len(values) - 1) * sem(values))
    return max(0.0, fmean(values) - reach), min(1.0, fmean(values) + reach)


def _table(shares: Sequence[Largest]) -> Iterator[Rows]:
    if not shares:
        return
    rows = []
    for one in shares:
        interval = "" if one.low is None or one.high is None else f" {bracket(one.low, one.high)}"
        rows.append((one.workflow, one.role, f"{100 * one.mean:.0f} %{interval}", f"{one.captures}", f"{one.runs}"))
    yield Rows(
        columns=("workflow", "role", "share of the gradient", "captured by it", "runs"),
        rows=rows,
        about=(
            "Shares of the roles in the gradient of the shared policy, means over the second half of training, with"
            " 95 % intervals over runs (of all scales, tasks and rates)"
        ),
    )
