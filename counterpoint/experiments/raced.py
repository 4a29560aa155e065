"""The results of the runs of a race, from their directories alone: outcomes at the validated peak, falls, and time."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np

from counterpoint.analysis.falls import Fate, fate_of
from counterpoint.analysis.milestones import milestones_of, outcomes_of
from counterpoint.analysis.racing import Outcome
from counterpoint.experiments.states import state_of
from counterpoint.run import Run
from counterpoint.run_files import FACTS, METRICS, SUMMARY

DONE = ("finished", "failed")
"""The states of a run on which nothing more is done."""
LEFT_OUT = 0.05
"""The largest fraction of tasks that may be left out of a race without a warning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Raced:
    """One run of a race."""

    arm: str
    seed: int
    path: Path
    state: str
    problem: str = ""
    """Why it failed."""
    outcomes: Mapping[str, float] = field(default_factory=dict)
    """Test task -> mean outcome of the team at the checkpoint that validation chose; empty unless it finished."""
    samples: int = 0
    """The episodes per task of these outcomes; the fewest, if tasks differ."""
    base: float | None = None
    """The team's accuracy before training, on the test split."""
    fate: Fate | None = None
    """Its course after the peak, with its fall if it fell; that is in no outcome."""

    @property
    def is_done(self) -> bool:
        """True if it is finished or failed."""
        return self.state in DONE


def read_raced(arm: str, seed: int, path: Path) -> Raced:
    """The run at `path`, as far as it came. Raises RunError if something that is no run is there."""
    found = state_of(path)
    if found.state != "finished":
        return Raced(arm=arm, seed=seed, path=path, state=found.state, problem=found.problem)
    run = Run.read(path)
    rows, final = run.evaluation_rows(), run.final_rows()
    milestones = milestones_of(rows, final)
    if milestones is None:
        return Raced(arm=arm, seed=seed, path=path, state="failed", problem="no evaluation after the first step")
    counts = [len(values) for values in milestones.peak["outcomes"].values()]
    if not counts:
        return Raced(arm=arm, seed=seed, path=path, state="failed", problem="no answer was judged at its peak")
    return Raced(
        arm=arm,
        seed=seed,
        path=path,
        state="finished",
        outcomes=outcomes_of([milestones.peak]),
        samples=min(counts),
        base=float(milestones.base["accuracy"]),
        fate=fate_of(rows, final, found.problem.removeprefix("stopped: ")),
    )


def common_outcomes(runs: Sequence[Raced], arms: Iterable[str]) -> tuple[dict[str, dict[int, Outcome]], int, int]:
    """Arm -> seed -> outcomes of the tasks that every finished run has, the number of these, and that of the others."""
    finished = [run for run in runs if run.outcomes]
    every = {task for run in finished for task in run.outcomes}
    tasks = sorted(task for task in every if all(task in run.outcomes for run in finished))
    found: dict[str, dict[int, Outcome]] = {arm: {} for arm in arms}
    for run in finished:
        found[run.arm][run.seed] = np.array([run.outcomes[task] for task in tasks], dtype=np.float64)
    return found, len(tasks), len(every) - len(tasks)


def span_of(path: Path) -> tuple[float, float] | None:
    """The times, in seconds since 1970, at which a run began and at which it ended or last wrote a step.

    None if it has written none.
    """
    ends = [path / name for name in (SUMMARY, METRICS) if (path / name).is_file()]
    if not ends:
        return None
    try:
        facts = json.loads((path / FACTS).read_text(encoding="utf-8"))
        began = datetime.fromisoformat(facts["began"]).timestamp()
    except (OSError, KeyError, TypeError, ValueError):
        return None
    return began, max(began, ends[0].stat().st_mtime)


def worked(spans: Iterable[tuple[float, float] | None]) -> float:
    """The seconds in which at least one run was at work; runs side by side count once, and pauses not at all."""
    total, end = 0.0, float("-inf")
    for first, last in sorted(span for span in spans if span is not None):
        total += max(0.0, last - max(first, end))
        end = max(end, last)
    return total


def makespan(seconds: Sequence[float], jobs: int) -> float:
    """The time that tasks of these lengths take, each started when one of `jobs` places is free, the longest first."""
    places = [0.0] * max(1, jobs)
    for one in sorted(seconds, reverse=True):
        places[places.index(min(places))] += one
    return max(places)
