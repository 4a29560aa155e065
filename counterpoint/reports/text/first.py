"""The time before falls: diagnostics beside runs that held, the order of marks, and rates by a step."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from counterpoint.analysis.calibration import FLOOR, LEAST_AUC, Calibration, Entry
from counterpoint.errors import RunError, counted
from counterpoint.experiments.calibrated import calibrated
from counterpoint.reports.before_falls import before_falls, differences, marks
from counterpoint.reports.seen import Gathered
from counterpoint.reports.text.statement import Part, Rows, Statement, not_run

if TYPE_CHECKING:
    import polars as pl

_SPANS = ("amplification", "persistence", "capture", "warning")
_MOST = 12
"""Rows of the table of early warnings."""


def came_first(gathered: Gathered) -> Part:
    """The numbers that differed before falls from runs that held, and the order of marks in the runs that fell."""
    title = "What came first before the falls?"
    if not any(cell.finished for cell in gathered.cells if not cell.control):
        return Part(title=title, statements=[not_run("no run is finished and evaluated after its base")])
    decided = sum(one.verdict != "cannot tell" for one in differences(gathered))
    statements = [
        Statement(verdict="yes" if place < decided else "cannot tell", text=text)
        for place, text in enumerate(before_falls(gathered))
    ]
    found = marks(gathered)
    falls = found.filter(fell="fell")["run"].n_unique()
    tables = []
    if falls:
        statements += list(_order(found))
        tables.append(_marked(found))
    known = _calibration(gathered)
    entries = [] if known is None else _quotable(known)
    if known is not None and entries:
        tables.append(_rates(known, entries))
    elif falls:
        statements.append(
            Statement(
                text=f"no number by an early step has {FLOOR} runs on one side and tells runs apart that fell later"
            )
        )
    return Part(title=title, statements=statements, tables=tables, figures=("fall-marks", "fall-diagnostics"))


def _before(found: "pl.DataFrame") -> "pl.DataFrame":
    """The marks of runs that fell, before the onset of the fall: run, kind, where, step."""
    import polars as pl

    onsets = found.filter(fell="fell", kind="onset").select("run", onset="step")
    own = found.filter(pl.col("kind").is_in(_SPANS)).join(onsets, on="run")
    return own.filter(pl.col("step") < pl.col("onset")).sort("run", "step", "kind", "where")


def _order(found: "pl.DataFrame") -> Iterator[Statement]:
    """The first mark of each run that fell."""
    first = _before(found).group_by("run", maintain_order=True).first()
    falls = found.filter(fell="fell")["run"].n_unique()
    counts = Counter(
        f"{kind} ({where})" if where else kind for kind, where in first.select("kind", "where").iter_rows()
    )
    unmarked = falls - first.height
    told = [f"{name} in {count}" for name, count in sorted(counts.items(), key=lambda one: (-one[1], one[0]))]
    told += [f"no mark before it in {unmarked}"] if unmarked else []
    yield Statement(text=f"the first mark in {counted(falls, 'run')} that fell: {', '.join(told)}")


def _marked(found: "pl.DataFrame") -> Rows:
    """The number of runs with each mark: before the fall began, or at any step of a run that held."""
    import polars as pl

    falls, holds = (found.filter(fell=fate)["run"].n_unique() for fate in ("fell", "held"))
    before = _before(found)
    rows = []
    for kind in _SPANS:
        own = before.filter(kind=kind)["run"].n_unique()
        held = found.filter((pl.col("fell") == "held") & (pl.col("kind") == kind))["run"].n_unique()
        rows.append((kind, f"{own} of {falls}", f"{held} of {holds}"))
    return Rows(
        columns=("mark", "runs that fell, before it began", "runs that held, at any step"),
        rows=rows,
        about=(
            "Runs with a mark: parallel calls that push alike (amplification) or in one direction (persistence), one"
            " role that captures a shared policy, and warnings. They are counts of runs, of all cells together"
        ),
    )


def _calibration(gathered: Gathered) -> Calibration | None:
    try:
        return calibrated(gathered.collected, gathered.title)
    except RunError:  # files of versions that did not record what it needs
        return None


def _quotable(known: Calibration) -> Sequence[Entry]:
    """The rates that `advise` would quote, the diagnostic that told runs apart best first."""
    kept = [
        one for one in known.entries if (one.auc or 0.0) >= LEAST_AUC and max(one.above.told, one.below.told) >= FLOOR
    ]
    return sorted(kept, key=lambda one: (-(one.auc or 0.0), one.key))


def _rates(known: Calibration, entries: Sequence[Entry]) -> Rows:
    rows = [
        (
            f"{one.workflow}, {one.sharing}",
            f"{one.diagnostic} of {one.role}" if one.role else one.diagnostic,
            f"{one.step}",
            f"{one.threshold:.3g}",
            f"{one.above.count} {one.above.interval}",
            f"{one.below.count} {one.below.interval}",
            f"{one.auc:.2f}",
        )
        for one in entries[:_MOST]
    ]
    left = len(entries) - len(rows)
    more = f"; {counted(left, 'further row')}, with a lower AUC, left out" if left > 0 else ""
    return Rows(
        columns=("runs of", "number", "by step", "threshold", "fell later: at or above", "below", "AUC"),
        rows=rows,
        about=(
            f"Early warnings: of the runs with such a number by a step, how many fell later, with 95 % intervals"
            f" ({known.about}). The AUC is calculated with cells left out, and only rows of at least {LEAST_AUC:g} are"
            f" here; the best of many looks better than it is{more}"
        ),
    )
