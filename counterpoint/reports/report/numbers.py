"""The numbers of runs that the report shows as text: accuracies at the milestones, falls, states, times."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from counterpoint.errors import counted
from counterpoint.experiments.collected import MILESTONES, RunRecord
from counterpoint.reports.seen import CellSeen, Gathered

Accuracy = Mapping[str, float]
"""Milestone -> accuracy of the team, as a fraction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A run as a row of a table."""

    record: RunRecord
    cell: str
    accuracy: Accuracy

    @property
    def gain(self) -> float | None:
        """Peak minus base."""
        return _minus(self.accuracy, "peak", "base")

    @property
    def drop(self) -> float | None:
        """Peak minus terminal."""
        return _minus(self.accuracy, "peak", "terminal")


def accuracies(gathered: Gathered) -> dict[str, Accuracy]:
    """Run -> its accuracies; runs without milestones are missing."""
    import polars as pl

    team = gathered.collected.outcomes.filter(pl.col("role").is_null())
    found: dict[str, dict[str, float]] = {}
    for run, milestone, value in team.group_by("run", "milestone").agg(pl.col("value").mean()).iter_rows():
        if milestone in MILESTONES and value is not None:
            found.setdefault(run, {})[milestone] = value
    return dict(found)


def run_rows(gathered: Gathered) -> list[RunRow]:
    """A row per run, in the order of cells and seeds."""
    found = accuracies(gathered)
    return [
        RunRow(record=seen.record, cell=cell.name, accuracy=found.get(seen.record.run, {}))
        for cell in gathered.cells
        for seen in cell.runs
    ]


def course(cell: CellSeen, found: Mapping[str, Accuracy]) -> list[tuple[str, float]]:
    """(milestone, mean accuracy over the runs of the cell that have it)."""
    own = [found[run.record.run] for run in cell.runs if run.record.run in found]
    means = [(stage, [one[stage] for one in own if stage in one]) for stage in MILESTONES]
    return [(stage, fmean(values)) for stage, values in means if values]


def fate(cell: CellSeen) -> str:
    """The falls of a cell in words: `1 of 3 fell`; empty if no run is finished."""
    fates = Counter(run.record.fell for run in cell.finished)
    known = fates["fell"] + fates["held"]
    unknown = sum(fates.values()) - known
    parts = [f"{fates['fell']} of {known} fell"] if known else []
    return ", ".join([*parts, *([f"{unknown} cannot be told"] if unknown else [])])


def states(records: Sequence[RunRecord]) -> str:
    """The states of runs in words: `17 finished, 1 failed`."""
    found = Counter(record.state for record in records)
    return ", ".join(f"{count} {state}" for state, count in sorted(found.items(), key=lambda one: -one[1]))


def facts(gathered: Gathered) -> Iterator[tuple[str, str]]:
    """(name, value): the size and the origin of what is shown."""
    records = [run.record for cell in gathered.cells for run in cell.runs]
    yield "runs", f"{len(records)} in {counted(len(gathered.cells), 'cell')}: {states(records)}"
    yield "seeds", _listed({str(record.seed) for record in records})
    yield "workflows", _listed({record.workflow for record in records})
    yield "policies", _listed({record.sharing for record in records})
    yield "tasks", _listed({record.task for record in records})
    yield "models", _listed({record.model for record in records})
    yield "evaluation", _evaluation(gathered)
    seconds = sum(record.seconds or 0.0 for record in records)
    yield "time", f"{duration(seconds)} of training" if seconds else ""
    tokens = sum(record.tokens for record in records)
    yield "tokens", f"{tokens:,.0f} generated in training episodes" if tokens else ""
    yield "versions", _listed({f"Counterpoint {record.version}" for record in records if record.version})
    yield "commits", _listed({record.commit[:10] for record in records if record.commit})


def duration(seconds: float) -> str:
    """A time in words: `3 h 20 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _evaluation(gathered: Gathered) -> str:
    outcomes = gathered.collected.outcomes
    if outcomes.is_empty():
        return ""
    tasks = outcomes["task"].n_unique()
    samples = {record.samples for record in gathered.collected.runs if record.samples}
    times = f", {_range(samples)} episodes per task at the milestones" if samples else ""
    return f"{counted(tasks, 'test task')}{times}"


def _range(numbers: set[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low}" if low == high else f"{low} to {high}"


def _listed(values: set[str]) -> str:
    shown = sorted(filter(None, values), key=lambda one: (not one.isdigit(), int(one) if one.isdigit() else 0, one))
    return ", ".join(shown)


def _minus(found: Accuracy, one: str, other: str) -> float | None:
    return found[one] - found[other] if one in found and other in found else None
