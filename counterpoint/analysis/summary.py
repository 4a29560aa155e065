"""What became of a run: base, peak and terminal accuracy. Validation picks the peak, the test split reports it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import bootstrap

SMOOTH = 3
"""Evaluations over which validation accuracy is smoothed before its maximum is taken, centred."""
LAST = 3
"""Evaluations over which terminal accuracy is the mean."""
CLIFF_DROP = 0.05
"""Least drop, in parts of one, of a terminal accuracy cliff."""
WARNING_ERRORS = 3.0
"""Standard errors below its best at which validation accuracy is a warning. (With 2, one healthy run in five was.)"""
WARNING_ROW = 3
"""Evaluations in a row after which it is."""
BEHAVIOUR = (
    "selection",
    "precision",
    "recall",
    "false_approval",
    "false_rejection",
    "recovered",
    "spoiled",
    "unreadable",
    "truncated",
    "calls",
    "tokens",
)
"""What is told of each role beside its accuracy; `docs/metrics.md` defines it."""
CONFIDENCE = 0.95
RESAMPLES = 4000

PerTask = Mapping[str, float]


class Interval(NamedTuple):
    """A value and its percentile bootstrap interval over tasks."""

    value: float
    low: float
    high: float
    n: int
    """Tasks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """A quantity over a run, on the test split."""

    base: Interval
    peak: Interval
    terminal: Interval
    gain: Interval
    """peak - base, paired by task."""
    drop: Interval
    """peak - terminal, paired by task."""


class Stages(NamedTuple):
    """A number of the test evaluations, where a run began, peaked and ended; None where there was nothing to count."""

    base: float | None
    peak: float | None
    terminal: float | None
    """Mean over the last evaluations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A run's course, for the team and for each role."""

    peak_step: int
    terminal_steps: list[int]
    team: Course
    roles: dict[str, Course]
    cliff: bool
    """Whether it ends in a terminal accuracy cliff: a drop of at least 5 points, its interval above 0, and each of the
    last three evaluations below the peak's interval."""
    slope: float | None
    """Least-squares slope of test accuracy over the last third of the evaluations, a step; None for fewer than two."""
    behaviour: dict[str, Stages]
    """Metric -> its stages, for what `BEHAVIOUR` names."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for `summary.json`: every interval is `{value, low, high, n}`."""
        return {
            "peak_step": self.peak_step,
            "terminal_steps": self.terminal_steps,
            **_plain(self.team),
            "cliff": self.cliff,
            "slope": self.slope,
            "roles": {role: _plain(course) for role, course in self.roles.items()},
            "behaviour": {name: stages._asdict() for name, stages in self.behaviour.items()},
        }


def outcome(evaluations: Sequence[Mapping[str, Any]]) -> Outcome | None:
    """The outcome that the rows of `evaluations.jsonl` amount to; None before the first one after step 0.

    Of a run that was rolled back, the evaluation after that is the terminal one, and no candidate for the peak.
    """
    validation = {row["step"]: row for row in evaluations if row["split"] == "validation"}
    test = {row["step"]: row for row in evaluations if row["split"] == "test"}
    steps = sorted(set(validation) & set(test))
    if len(steps) < 2 or steps[0] != 0:
        return None
    trained = [step for step in steps if not test[step].get("rolled_back")]
    accuracy = [validation[step]["accuracy"] for step in trained]
    smoothed = smooth(accuracy)
    peak_step = trained[max(range(len(trained)), key=lambda place: (smoothed[place], accuracy[place]))]
    last = [step for step in steps if step > 0][-LAST:] if trained == steps else steps[-1:]
    rows = (test[0], test[peak_step], [test[step] for step in last])
    roles = set.intersection(*(set(test[step]["roles"]) for step in (0, peak_step, *last)))
    team = _course(*(_outcomes(row) for row in rows))
    final = [test[step]["accuracy"] for step in last]
    return Outcome(
        peak_step=peak_step,
        terminal_steps=last,
        team=team,
        cliff=is_cliff(team, final),
        slope=slope(steps, [test[step]["accuracy"] for step in steps]),
        roles={role: _course(*(_outcomes(row, role) for row in rows)) for role in test[0]["roles"] if role in roles},
        behaviour=_behaviour(test[0]["numbers"], test[peak_step]["numbers"], [test[step]["numbers"] for step in last]),
    )


def is_cliff(team: Course, last: Sequence[float]) -> bool:
    """Whether a course ends in a terminal accuracy cliff, with the accuracy of the last evaluations on the test split.

    Fewer than three evaluations after the base tell nothing.
    """
    fell = team.drop.value >= CLIFF_DROP and team.drop.low > 0.0
    return fell and len(last) == LAST and max(last) < team.peak.low


def slope(steps: Sequence[int], accuracy: Sequence[float]) -> float | None:
    """Least-squares slope over the last third of the evaluations, rounded up, a step; None for fewer than two."""
    count = -(-len(steps) // 3)
    if count < 2:
        return None
    return float(np.polyfit(steps[-count:], accuracy[-count:], 1)[0])


def cliff_warning(accuracy: Sequence[float], tasks: int) -> bool:
    """Whether validation accuracy, one evaluation after another, looks like the beginning of a cliff.

    s_k = mean of the last three evaluations, b its highest value so far. True if s is below b by more than three
    standard errors, sqrt(p (1 - p) / tasks), p = (tasks b + 1) / (tasks + 2), at each of the last three evaluations.
    """
    smoothed = [fmean(accuracy[max(0, end - SMOOTH) : end]) for end in range(1, len(accuracy) + 1)]
    best = list(accumulate(smoothed, max))
    below = [
        most - now > WARNING_ERRORS * _standard_error(most, tasks) for most, now in zip(best, smoothed, strict=True)
    ]
    return len(below) >= WARNING_ROW and all(below[-WARNING_ROW:])


def _standard_error(accuracy: float, tasks: int) -> float:
    """Of an accuracy on so many tasks; by Laplace's estimate, so that it is not 0 at 0 and 1."""
    estimate = (tasks * accuracy + 1) / (tasks + 2)
    return float((estimate * (1.0 - estimate) / tasks) ** 0.5)


def smooth(values: Sequence[float], width: int = SMOOTH) -> list[float]:
    """Centred moving average; at the ends over the values that there are."""
    half = width // 2
    return [fmean(values[max(0, place - half) : place + half + 1]) for place in range(len(values))]


def interval(values: Sequence[float]) -> Interval:
    """Mean with its bootstrap interval; a single value has no width."""
    mean = fmean(values)
    if len(values) < 2:
        return Interval(mean, mean, mean, len(values))
    found = bootstrap(
        (np.asarray(values),),
        np.mean,
        confidence_level=CONFIDENCE,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Interval(mean, float(found.low), float(found.high), len(values))


def difference(after: PerTask, before: PerTask) -> Interval:
    """After - before, over the tasks that both have, paired."""
    return interval([after[task] - before[task] for task in after if task in before])


def _course(base: PerTask, peak: PerTask, terminal: PerTask) -> Course:
    return Course(
        base=interval(list(base.values())),
        peak=interval(list(peak.values())),
        terminal=interval(list(terminal.values())),
        gain=difference(peak, base),
        drop=difference(peak, terminal),
    )


def _behaviour(
    base: Mapping[str, float], peak: Mapping[str, float], last: Sequence[Mapping[str, float]]
) -> dict[str, Stages]:
    names = dict.fromkeys(name for numbers in (base, peak, *last) for name in numbers)
    return {
        name: Stages(base.get(name), peak.get(name), _mean([numbers[name] for numbers in last if name in numbers]))
        for name in names
        if name == "episode/oracle" or (name.startswith("role/") and name.rpartition("/")[2] in BEHAVIOUR)
    }


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _outcomes(rows: Mapping[str, Any] | Sequence[Mapping[str, Any]], role: str | None = None) -> dict[str, float]:
    """Task -> mean outcome, over one evaluation or several."""
    gathered: dict[str, list[float]] = {}
    for row in [rows] if isinstance(rows, Mapping) else rows:
        outcomes: Mapping[str, Sequence[float]] = row["outcomes"] if role is None else row["roles"][role]
        for task, values in outcomes.items():
            gathered.setdefault(task, []).append(fmean(values))
    return {task: fmean(values) for task, values in gathered.items()}


def _plain(course: Course) -> dict[str, Any]:
    return {name: Interval(*value)._asdict() for name, value in asdict(course).items()}
