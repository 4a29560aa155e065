"""The summary of a run: accuracy at the base, the peak and the end. Validation picks the peak, test reports it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from counterpoint.analysis.intervals import Interval, PerTask, difference, interval

SMOOTH = 3
"""Width, in evaluations, of the centred mean that validation accuracy is smoothed with before its maximum is taken."""
LAST = 3
"""Evaluations over which terminal accuracy is the mean."""
CLIFF_DROP = 0.05
"""Least drop of accuracy, as a fraction, that counts as a terminal accuracy cliff."""
WARNING_ERRORS = 3.0
"""Standard errors below its best from which validation accuracy is a warning. (With 2, one healthy run in five was.)"""
WARNING_ROW = 3
"""Consecutive evaluations below that bound after which a warning is given."""
PARTS = ("base", "peak", "terminal", "gain", "drop")
"""The parts of a course."""
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
"""The numbers of each role that a summary holds beside its accuracy; `docs/metrics.md` defines them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleCourse:
    """The accuracy of a role over a run, on the tasks of the test split on which it was called.

    A role need not be called in every evaluation: a part is None where none of its claims was judged, and a difference
    is None where no task is in both parts.
    """

    base: Interval | None
    peak: Interval | None
    terminal: Interval | None
    gain: Interval | None
    """peak - base, paired by task."""
    drop: Interval | None
    """peak - terminal, paired by task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course(RoleCourse):
    """The accuracy of the team over a run, on the test split; no part is missing."""

    base: Interval
    peak: Interval
    terminal: Interval
    gain: Interval
    drop: Interval


class Milestones(NamedTuple):
    """A number of the test evaluations at the base, the peak and the end of a run; None where it is undefined."""

    base: float | None
    peak: float | None
    terminal: float | None
    """The mean over the last evaluations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Base, peak and terminal accuracy of a run, for the team and for each role."""

    peak_step: int
    """The evaluation with the best smoothed validation accuracy."""
    terminal_steps: list[int]
    """The evaluations that terminal accuracy is the mean of."""
    team: Course
    roles: dict[str, RoleCourse]
    """The roles with claims that were judged at the base, the peak or the end."""
    cliff: bool
    """True if the run ends in a terminal accuracy cliff: a drop of at least 5 points whose interval is above 0, with
    each of the last three evaluations below the peak's interval."""
    slope: float | None
    """Least-squares slope of test accuracy per step, over the last third of the evaluations; None if fewer than two."""
    behaviour: dict[str, Milestones]
    """Metric -> its values at the base, the peak and the end, for the metrics that `BEHAVIOUR` names."""

    @property
    def gain(self) -> Interval:
        """The team's accuracy at the peak minus that of the base."""
        return self.team.gain

    @property
    def drop(self) -> Interval:
        """The team's accuracy at the peak minus its terminal accuracy."""
        return self.team.drop

    def as_dict(self) -> dict[str, Any]:
        """Plain values for `summary.json`: every interval is `{value, low, high, n}`."""
        return {
            "peak_step": self.peak_step,
            "terminal_steps": self.terminal_steps,
            **_course_as_dict(self.team),
            "cliff": self.cliff,
            "slope": self.slope,
            "roles": {role: _course_as_dict(course) for role, course in self.roles.items()},
            "behaviour": {name: values._asdict() for name, values in self.behaviour.items()},
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Summary":
        """The summary that `as_dict` wrote."""
        return cls(
            peak_step=plain["peak_step"],
            terminal_steps=list(plain["terminal_steps"]),
            team=Course(**{name: Interval(**plain[name]) for name in PARTS}),
            roles={role: RoleCourse(**_intervals(course)) for role, course in plain["roles"].items()},
            cliff=plain["cliff"],
            slope=plain["slope"],
            behaviour={name: Milestones(**values) for name, values in plain["behaviour"].items()},
        )


def summarize(evaluations: Sequence[Mapping[str, Any]]) -> Summary | None:
    """The summary of a run, from the rows of its `evaluations.jsonl`; None before the first evaluation after step 0.

    Of a run that was rolled back, the evaluation after the roll-back is the terminal one, and no candidate for the
    peak.
    """
    validation = {row["step"]: row for row in evaluations if row["split"] == "validation"}
    test = {row["step"]: row for row in evaluations if row["split"] == "test"}
    steps = sorted(set(validation) & set(test))
    if len(steps) < 2 or steps[0] != 0:
        return None
    trained = [step for step in steps if not test[step].get("rolled_back")]
    peak_step = peak_of_accuracy({step: validation[step]["accuracy"] for step in trained}, trained)
    last = [step for step in steps if step > 0][-LAST:] if trained == steps else steps[-1:]
    rows = (test[0], test[peak_step], [test[step] for step in last])
    roles = dict.fromkeys(role for step in (0, peak_step, *last) for role in test[step]["roles"])
    base, peak, terminal = (_outcomes(row) for row in rows)
    team = Course(
        base=interval(list(base.values())),
        peak=interval(list(peak.values())),
        terminal=interval(list(terminal.values())),
        gain=difference(peak, base),
        drop=difference(peak, terminal),
    )
    return Summary(
        peak_step=peak_step,
        terminal_steps=last,
        team=team,
        cliff=is_cliff(team, [test[step]["accuracy"] for step in last]),
        slope=slope(steps, [test[step]["accuracy"] for step in steps]),
        roles={role: _role_course(*(_outcomes(row, role) for row in rows)) for role in roles},
        behaviour=_behaviour(test[0]["numbers"], test[peak_step]["numbers"], [test[step]["numbers"] for step in last]),
    )


def peak_of_accuracy(accuracy: Mapping[int, float], among: Collection[int]) -> int:
    """The step of the highest smoothed accuracy, of those in `among` that were evaluated; 0 if none was.

    `accuracy` maps every evaluated step to its validation accuracy. Of steps whose smoothed accuracy is equal, the one
    with the higher accuracy is the peak, and of those the first.
    """
    steps = sorted(accuracy)
    smoothed = dict(zip(steps, smooth([accuracy[step] for step in steps]), strict=True))
    candidates = [step for step in steps if step in among]
    return max(candidates, key=lambda step: (smoothed[step], accuracy[step]), default=0)


def is_cliff(team: Course, last: Sequence[float]) -> bool:
    """True if a course ends in a terminal accuracy cliff; `last` is the test accuracy of the last evaluations.

    With fewer than three evaluations after the base it does not.
    """
    fell = team.drop.value >= CLIFF_DROP and team.drop.low > 0.0
    return fell and len(last) == LAST and max(last) < team.peak.low


def slope(steps: Sequence[int], accuracy: Sequence[float]) -> float | None:
    """Least-squares slope per step over the last third of the evaluations, rounded up; None if fewer than two."""
    count = -(-len(steps) // 3)
    if count < 2:
        return None
    return float(np.polyfit(steps[-count:], accuracy[-count:], 1)[0])


def cliff_warning(accuracy: Sequence[float], tasks: int) -> bool:
    """True if validation accuracy, in the order of the evaluations, looks like the beginning of a cliff.

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
    """The standard error of an accuracy on that many tasks; by Laplace's estimate, so that it is not 0 at 0 and 1."""
    estimate = (tasks * accuracy + 1) / (tasks + 2)
    return float((estimate * (1.0 - estimate) / tasks) ** 0.5)


def smooth(values: Sequence[float], width: int = SMOOTH) -> list[float]:
    """The centred moving average; at the ends it is the mean of the values that exist."""
    half = width // 2
    return [fmean(values[max(0, place - half) : place + half + 1]) for place in range(len(values))]


def _role_course(base: PerTask, peak: PerTask, terminal: PerTask) -> RoleCourse:
    def mean(part: PerTask) -> Interval | None:
        return interval(list(part.values())) if part else None

    def minus(other: PerTask) -> Interval | None:
        return difference(peak, other) if peak.keys() & other.keys() else None

    parts = {"base": mean(base), "peak": mean(peak), "terminal": mean(terminal)}
    return RoleCourse(**parts, gain=minus(base), drop=minus(terminal))


def _behaviour(
    base: Mapping[str, float], peak: Mapping[str, float], last: Sequence[Mapping[str, float]]
) -> dict[str, Milestones]:
    names = dict.fromkeys(name for numbers in (base, peak, *last) for name in numbers)
    return {
        name: Milestones(base.get(name), peak.get(name), _mean([numbers[name] for numbers in last if name in numbers]))
        for name in names
        if name == "episode/oracle" or (name.startswith("role/") and name.rpartition("/")[2] in BEHAVIOUR)
    }


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _outcomes(rows: Mapping[str, Any] | Sequence[Mapping[str, Any]], role: str | None = None) -> dict[str, float]:
    """Task -> mean outcome, over one evaluation or several."""
    gathered: dict[str, list[float]] = {}
    for row in [rows] if isinstance(rows, Mapping) else rows:
        outcomes: Mapping[str, Sequence[float]] = row["outcomes"] if role is None else row["roles"].get(role, {})
        for task, values in outcomes.items():
            gathered.setdefault(task, []).append(fmean(values))
    return {task: fmean(values) for task, values in gathered.items()}


def _course_as_dict(course: RoleCourse) -> dict[str, Any]:
    parts = {name: getattr(course, name) for name in PARTS}
    return {name: None if part is None else part._asdict() for name, part in parts.items()}


def _intervals(plain: Mapping[str, Any]) -> dict[str, Interval | None]:
    return {name: None if plain[name] is None else Interval(**plain[name]) for name in PARTS}
