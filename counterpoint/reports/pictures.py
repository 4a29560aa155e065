"""The kinds of pictures, and how one is saved."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from counterpoint.errors import RunError
from counterpoint.reports.amplification import amplification
from counterpoint.reports.course import course
from counterpoint.reports.dynamics import dynamics
from counterpoint.run import Run

PICTURES: Mapping[str, Callable[[Sequence[Run]], Any]] = {
    "course": course,
    "dynamics": dynamics,
    "amplification": amplification,
}


def save_picture(runs: Sequence[Run], kind: str, out: Path) -> None:
    """`out` holds the picture, in the format that its extension names. Raises RunError if a run has no steps yet."""
    for run in runs:
        if not run.metric_rows():
            raise RunError(f"{run.path} has no training step yet: there is nothing to draw")
    PICTURES[kind](runs).save(str(out))
