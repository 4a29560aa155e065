"""The summary of a run: accuracy at the base, the peak and the end. Validation picks the peak, test reports it.

What the numbers mean in words is in `verdict.py`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from counterpoint.analysis.intervals import Interval, difference, interval
from counterpoint.analysis.recorded import RecordedControl, against_the_team, tokens_per_episode
from counterpoint.analysis.verdict import CLIFF_DROP as CLIFF_DROP
from counterpoint.analysis.verdict import verdict_on

SMOOTH = 3
"""Width, in evaluations, of the centred mean that validation accuracy is smoothed with before its maximum is taken."""
LAST = 3
"""Evaluations over which terminal accuracy is the mean."""
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


_Row = Mapping[str, Any]
"""A line of `evaluations.jsonl`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """The accuracy of the team over a run, on the test split."""

    base: Interval
    peak: Interval
    terminal: Interval
    gain: Interval
    """peak - base, paired by task."""
    drop: Interval
    """peak - terminal, paired by task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleCourse:
    """The accuracy of a role over a run, on the test split; None where none of its claims was judged."""

    base: Interval | None
    peak: Interval | None
    terminal: Interval | None
    """Over those of the last evaluations in which a claim was judged."""
    gain: Interval | None
    """peak - base, paired by task."""
    drop: Interval | None
    """peak - terminal, paired by task."""


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
    """The roles that made a claim in at least one of these evaluations."""
    cliff: bool
    """True if the run ends in a terminal accuracy cliff: a drop of at least 5 points whose interval is above 0, with
    each of the last three evaluations below the peak's interval."""
    slope: float | None
    """Least-squares slope of test accuracy per step, over the last third of the evaluations; None if fewer than two."""
    behaviour: dict[str, Milestones]
    """Metric -> its values at the base, the peak and the end, for the metrics that `BEHAVIOUR` names."""
    kept: Interval | None = None
    """The team's terminal accuracy minus that of the base, paired by task."""
    fall: Interval | None = None
    """The team's accuracy at the peak minus its mean over those of the last evaluations that come after it, paired by
    task; None if none does."""
    rise: Interval | None = None
    """The team's accuracy in the last evaluation minus that in the first of the last ones, paired by task; None if it
    is the only one."""
    validation_tasks: int | None = None
    """The number of tasks that chose the peak."""
    last: Interval | None = None
    """The team's accuracy in the last evaluation."""
    tokens: float | None = None
    """The tokens that the team generated per episode in the last evaluation."""
    controls: tuple[RecordedControl, ...] = ()
    """The answers that some of the calls of the last evaluation give by themselves, compared with the team."""

    @property
    def gain(self) -> Interval:
        """The team's accuracy at the peak minus that of the base."""
        return self.team.gain

    @property
    def drop(self) -> Interval:
        """The team's accuracy at the peak minus its terminal accuracy."""
        return self.team.drop

    @property
    def verdict(self) -> tuple[str, ...]:
        """The outcome in sentences, no stronger than the intervals allow."""
        return verdict_on(self)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for `summary.json`: every interval is `{value, low, high, n}`."""
        extra = {name: _plain(getattr(self, name)) for name in _EXTRA}
        return {
            "peak_step": self.peak_step,
            "terminal_steps": self.terminal_steps,
            **_course_as_dict(self.team),
            "cliff": self.cliff,
            "slope": self.slope,
            "roles": {role: _course_as_dict(course) for role, course in self.roles.items()},
            "behaviour": {name: values._asdict() for name, values in self.behaviour.items()},
            **extra,
            "validation_tasks": self.validation_tasks,
            "tokens": self.tokens,
            "controls": [control.as_dict() for control in self.controls],
            "verdict": list(self.verdict),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Summary":
        """The summary that `as_dict` wrote, in this version or an earlier one."""
        return cls(
            peak_step=plain["peak_step"],
            terminal_steps=list(plain["terminal_steps"]),
            team=Course(**{name: Interval(**plain[name]) for name in _COURSE}),
            roles={
                role: RoleCourse(**{name: _from_plain(course[name]) for name in _COURSE})
                for role, course in plain["roles"].items()
            },
            cliff=plain["cliff"],
            slope=plain["slope"],
            behaviour={name: Milestones(**values) for name, values in plain["behaviour"].items()},
            **{name: _from_plain(plain.get(name)) for name in _EXTRA},
            validation_tasks=plain.get("validation_tasks"),
            tokens=plain.get("tokens"),
            controls=tuple(RecordedControl.from_dict(control) for control in plain.get("controls", [])),
        )


_COURSE = ("base", "peak", "terminal", "gain", "drop")
_EXTRA = ("kept", "fall", "rise", "last")


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
    stages = _Stages(test[0], test[peak_step], [test[step] for step in last])
    team = Course(**_course(stages, None))
    after = [test[step] for step in last if step > peak_step]
    return Summary(
        peak_step=peak_step,
        terminal_steps=last,
        team=team,
        cliff=is_cliff(team, [test[step]["accuracy"] for step in last]),
        slope=slope(steps, [test[step]["accuracy"] for step in steps]),
        roles={role: RoleCourse(**_course(stages, role)) for role in _roles(stages)},
        behaviour=_behaviour(stages),
        kept=_change(stages.last, [stages.base]),
        fall=_change([stages.peak], after),
        rise=_change(stages.last[-1:], stages.last[:1]) if len(last) > 1 else None,
        validation_tasks=len(validation[peak_step]["outcomes"]),
        last=_accuracy(stages.last[-1:], None),
        tokens=tokens_per_episode(test[last[-1]]["numbers"]),
        controls=against_the_team(test[last[-1]]),
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


def smooth(values: Sequence[float], width: int = SMOOTH) -> list[float]:
    """The centred moving average; at the ends it is the mean of the values that exist."""
    half = width // 2
    return [fmean(values[max(0, place - half) : place + half + 1]) for place in range(len(values))]


class _Stages(NamedTuple):
    """The test evaluations at the base, the peak and the end."""

    base: _Row
    peak: _Row
    last: list[_Row]

    def all(self) -> list[_Row]:
        """Each of them, in this order."""
        return [self.base, self.peak, *self.last]


def _roles(stages: _Stages) -> list[str]:
    return list(dict.fromkeys(role for row in stages.all() for role in row["roles"]))


def _course(stages: _Stages, role: str | None) -> dict[str, Any]:
    """The fields of the course of the team, or of a role."""
    found = {"base": [stages.base], "peak": [stages.peak], "terminal": stages.last}
    return {
        **{name: _accuracy(rows, role) for name, rows in found.items()},
        "gain": _change([stages.peak], [stages.base], role),
        "drop": _change([stages.peak], stages.last, role),
    }


def _accuracy(rows: Sequence[_Row], role: str | None) -> Interval | None:
    means = _outcomes(rows, role)
    return interval(list(means.values())) if means else None


def _change(after: Sequence[_Row], before: Sequence[_Row], role: str | None = None) -> Interval | None:
    """The paired difference; None if no task has an outcome in both. Between the same evaluations it is exactly 0."""
    means = _outcomes(after, role), _outcomes(before, role)
    both = means[0].keys() & means[1].keys()
    if not both:
        return None
    return Interval(0.0, 0.0, 0.0, len(both)) if after == before else difference(*means)


def _behaviour(stages: _Stages) -> dict[str, Milestones]:
    base, peak, *last = (row["numbers"] for row in stages.all())
    names = dict.fromkeys(name for numbers in (base, peak, *last) for name in numbers)
    return {
        name: Milestones(base.get(name), peak.get(name), _mean([numbers[name] for numbers in last if name in numbers]))
        for name in names
        if name == "episode/oracle" or (name.startswith("role/") and name.rpartition("/")[2] in BEHAVIOUR)
    }


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _outcomes(rows: Sequence[_Row], role: str | None = None) -> dict[str, float]:
    """Task -> mean outcome, over one evaluation or several."""
    gathered: dict[str, list[float]] = {}
    for row in rows:
        outcomes: Mapping[str, Sequence[float]] = row["outcomes"] if role is None else row["roles"].get(role, {})
        for task, values in outcomes.items():
            gathered.setdefault(task, []).append(fmean(values))
    return {task: fmean(values) for task, values in gathered.items()}


def _course_as_dict(course: Course | RoleCourse) -> dict[str, Any]:
    return {name: _plain(getattr(course, name)) for name in _COURSE}


def _plain(found: Interval | None) -> dict[str, Any] | None:
    return None if found is None else found._asdict()


def _from_plain(found: Mapping[str, Any] | None) -> Interval | None:
    return None if found is None else Interval(**found)
