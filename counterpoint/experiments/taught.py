"""The gains of training, from collected runs: their tries after training, and those of the base that they share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from counterpoint.analysis.taught import Base, Lesson, Trained, lessons
from counterpoint.analysis.tries import BEFORE, MOST, SORTING, Tried, Tries
from counterpoint.errors import counted
from counterpoint.experiments.collected import Collected, RunRecord
from counterpoint.experiments.groups import printable
from counterpoint.experiments.matrices import has_outcomes
from counterpoint.experiments.measured import TAUGHT, TEAM, TRAINED

_Key = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Taught:
    """The gains of training in some of the runs."""

    labels: Mapping[str, str]
    """Axis -> label, of the axes that were kept apart; empty if all runs are pooled."""
    lessons: tuple[Lesson, ...]
    """On the problems that the base never, sometimes and always solves; empty if no run has what they need."""
    runs: int
    """The runs that are in the numbers."""
    missing: tuple[str, ...]
    """One line for each reason why finished runs are not, with their number."""

    @property
    def name(self) -> str:
        """The labels in one word; "all runs" without one."""
        return printable("-".join(self.labels.values())) or "all runs"

    @property
    def sentences(self) -> list[str]:
        """One per kind of problem, then one per reason why runs are missing."""
        told = [one.sentence for one in self.lessons if one.problems or one.kind == "never"]
        return [f"{self.name}: {printable(one)}" for one in (*told, *self.missing)]


def taught(
    collected: Collected, by: Sequence[str] | None = None, *, role: str | None = None, k: int = MOST
) -> list[Taught]:
    """The gains of training, of the team, or of a role, for every combination of the labels of the axes `by`.

    Without `by` every cell is one; with `by = ()` all runs are pooled. Pooled, every problem counts once, with the mean
    over the cells, and the seeds are those that all its cells have. Runs that a study trained as controls are not part
    of it. Empty if no run was evaluated for it: see the control `taught` in `docs/studies.md`.
    """
    runs = [run for run in collected.runs if has_outcomes(run) and not run.control]
    if not any(_name(TRAINED) in run.controls for run in runs):
        return []
    bases = _bases(runs, role or TEAM)
    pools: dict[tuple[tuple[str, str], ...], list[RunRecord]] = {}
    for run in runs:
        kept = run.labels if by is None else {axis: run.labels[axis] for axis in by if axis in run.labels}
        pools.setdefault(tuple(kept.items()), []).append(run)
    return [_pool(dict(labels), own, bases, role or TEAM, k) for labels, own in pools.items()]


def tries_of(run: RunRecord, which: str, part: str = TEAM) -> dict[str, Tries]:
    """Task -> the tries that a run or its base made of it; empty if there are none."""
    found = run.controls.get(_name(which), {}).get(part)
    if found is None:
        return {}
    counts = found["samples"]
    return {task: Tries(round(share * counts[task]), counts[task]) for task, share in found["outcomes"].items()}


def _name(which: str) -> str:
    return f"{TAUGHT}: {which}"


def _key(run: RunRecord) -> _Key:
    """Equal for runs with the same base on the same tasks; unique in files that do not say what the base is."""
    return (run.base_sha256 or run.run, run.tasks_sha256)


def _bases(runs: Sequence[RunRecord], part: str) -> dict[_Key, Base]:
    """Those that were played; the first of each, in the order of the runs."""
    found: dict[_Key, Base] = {}
    for run in runs:
        sorting, measured = (tries_of(run, which, part) for which in (SORTING, BEFORE))
        if sorting and measured:
            found.setdefault(_key(run), Base(sorting=sorting, measured=measured))
    return found


def _pool(
    labels: Mapping[str, str], runs: Sequence[RunRecord], bases: Mapping[_Key, Base], part: str, k: int
) -> Taught:
    tries = {run.run: tries_of(run, TRAINED, part) for run in runs}
    usable = [run for run in runs if tries[run.run] and _key(run) in bases]
    cells: dict[tuple[_Key, tuple[tuple[str, str], ...]], dict[int, Tried]] = {}
    for run in usable:
        cells.setdefault((_key(run), tuple(run.labels.items())), {})[run.seed] = tries[run.run]
    methods = [Trained(base=bases[key], seeds=own) for (key, _), own in cells.items()]
    found = lessons(methods, k) if methods else ()
    seeds = found[0].seeds if found else ()
    alone = [run for run in usable if run.seed not in seeds]
    return Taught(
        labels=dict(labels),
        lessons=found,
        runs=len(usable) - len(alone),
        missing=tuple(_missing(runs, tries, bases, part, len(alone))),
    )


def _missing(
    runs: Sequence[RunRecord], tries: Mapping[str, Tried], bases: Mapping[_Key, Base], part: str, alone: int
) -> list[str]:
    """The reasons; `alone` runs have a seed that another cell does not have."""
    unplayed = [run for run in runs if not tries_of(run, TRAINED)]
    silent = [run for run in runs if not tries[run.run] and tries_of(run, TRAINED)]
    without = [run for run in runs if tries[run.run] and _key(run) not in bases]
    reasons = (
        (len(unplayed), "finished run", "not evaluated for it yet"),
        (len(silent), "run", f"without an answer of {part}"),
        (len(without), "run", "without tries of the base"),
        (alone, "run", "with a seed that not all cells have"),
    )
    return [f"{counted(count, what)} {why}" for count, what, why in reasons if count]
