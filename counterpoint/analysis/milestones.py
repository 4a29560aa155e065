"""The evaluations of a run that tell how it went: at the base, at the peak and at the end."""

from collections.abc import Collection, Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

Row = Mapping[str, Any]
"""A line of `evaluations.jsonl` or `final.jsonl`."""
SMOOTH = 3
"""Width, in evaluations, of the centred mean that validation accuracy is smoothed with before its maximum is taken."""
LAST = 3
"""Evaluations over which terminal accuracy is the mean."""


class MilestoneRows(NamedTuple):
    """The test evaluations at the base, the peak and the end."""

    base: Row
    peak: Row
    last: list[Row]
    test: list[Row]
    """Every test evaluation, in the order of steps."""
    validation_tasks: int
    """The number of tasks that chose the peak."""

    def all(self) -> list[Row]:
        """Base, peak and last ones, in this order."""
        return [self.base, self.peak, *self.last]


def milestones_of(evaluations: Sequence[Row], final: Sequence[Row] = ()) -> MilestoneRows | None:
    """The milestones in the rows of `evaluations.jsonl`; None before the first evaluation after step 0.

    Validation picks the peak. The rows of `final.jsonl` count in place of the test evaluations of the same steps. Of a
    run that was rolled back, the evaluation after the roll-back is the terminal one, and no candidate for the peak.
    """
    validation = {row["step"]: row for row in evaluations if row["split"] == "validation"}
    test = {row["step"]: row for row in (*evaluations, *final) if row["split"] == "test"}
    steps = sorted(set(validation) & set(test))
    if len(steps) < 2 or steps[0] != 0:
        return None
    trained = [step for step in steps if not validation[step].get("rolled_back")]
    peak = peak_of_accuracy({step: validation[step]["accuracy"] for step in trained}, trained)
    last = [step for step in steps if step > 0][-LAST:] if trained == steps else steps[-1:]
    return MilestoneRows(
        base=test[0],
        peak=test[peak],
        last=[test[step] for step in last],
        test=[test[step] for step in steps],
        validation_tasks=len(validation[peak]["outcomes"]),
    )


def outcomes_of(rows: Sequence[Row], role: str | None = None) -> dict[str, float]:
    """Task -> mean outcome of the team or of a role, over one evaluation or several."""
    each = [_means(row["outcomes"] if role is None else row["roles"].get(role, {})) for row in rows]
    if len(each) == 1:
        return each[0]
    gathered: dict[str, list[float]] = {}
    for means in each:
        for task, value in means.items():
            gathered.setdefault(task, []).append(value)
    return _means(gathered)


def _means(outcomes: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The means of at least one value each; most tasks have one, and a study has millions of them."""
    return {task: fmean(values) if len(values) > 1 else float(values[0]) for task, values in outcomes.items()}


def peak_of_accuracy(accuracy: Mapping[int, float], among: Collection[int]) -> int:
    """The step of the highest smoothed accuracy, of those in `among` that were evaluated; 0 if none was.

    `accuracy` maps every evaluated step to its validation accuracy. Of steps whose smoothed accuracy is equal, the one
    with the higher accuracy is the peak, and of those the first.
    """
    steps = sorted(accuracy)
    smoothed = dict(zip(steps, smooth([accuracy[step] for step in steps]), strict=True))
    candidates = [step for step in steps if step in among]
    return max(candidates, key=lambda step: (smoothed[step], accuracy[step]), default=0)


def smooth(values: Sequence[float], width: int = SMOOTH) -> list[float]:
    """The centred moving average; at the ends it is the mean of the values that exist."""
    half = width // 2
    return [fmean(values[max(0, place - half) : place + half + 1]) for place in range(len(values))]
