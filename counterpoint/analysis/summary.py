"""The summary of a run: accuracy at the base, the peak and the end. Validation picks the peak, test reports it.

What the numbers mean in words is in `verdict.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from counterpoint.analysis.falls import CLIFF_DROP as CLIFF_DROP
from counterpoint.analysis.falls import fell
from counterpoint.analysis.intervals import Interval, difference, interval
from counterpoint.analysis.milestones import LAST as LAST
from counterpoint.analysis.milestones import MilestoneRows, Row, milestones_of, outcomes_of
from counterpoint.analysis.milestones import peak_of_accuracy as peak_of_accuracy
from counterpoint.analysis.milestones import smooth as smooth
from counterpoint.analysis.recorded import RecordedControl, against_the_team, tokens_per_episode
from counterpoint.analysis.verdict import verdict_on

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
    rolled_back: bool = False
    """True if the last evaluation is of the peak's weights, to which the run went back."""

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
            "rolled_back": self.rolled_back,
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
            rolled_back=plain.get("rolled_back", False),
        )


_COURSE = ("base", "peak", "terminal", "gain", "drop")
_EXTRA = ("kept", "fall", "rise", "last")


def summarize(evaluations: Sequence[Row], final: Sequence[Row] = ()) -> Summary | None:
    """The summary of a run, from the rows of its `evaluations.jsonl`; None before the first evaluation after step 0.

    `final` holds the rows of its `final.jsonl`, which count in place of the test evaluations of the same steps. Of a
    run that was rolled back, the evaluation after the roll-back is the terminal one, and no candidate for the peak.
    """
    found = milestones_of(evaluations, final)
    if found is None:
        return None
    team = Course(**_course(found, None))
    last = [row["accuracy"] for row in found.last]
    return Summary(
        peak_step=found.peak["step"],
        terminal_steps=[row["step"] for row in found.last],
        team=team,
        cliff=is_cliff(team, last),
        slope=slope([row["step"] for row in found.test], [row["accuracy"] for row in found.test]),
        roles={role: RoleCourse(**_course(found, role)) for role in _roles(found)},
        behaviour=_behaviour(found),
        kept=_change(found.last, [found.base]),
        fall=_change([found.peak], [row for row in found.last if row["step"] > found.peak["step"]]),
        rise=_change(found.last[-1:], found.last[:1]) if len(found.last) > 1 else None,
        validation_tasks=found.validation_tasks,
        last=_accuracy(outcomes_of(found.last[-1:])),
        tokens=tokens_per_episode(found.last[-1]["numbers"]),
        controls=against_the_team(found.last[-1]),
        rolled_back=bool(found.last[-1].get("rolled_back")),
    )


def is_cliff(team: Course, last: Sequence[float]) -> bool:
    """True if a course ends in a terminal accuracy cliff; `last` is the test accuracy of the last evaluations.

    With fewer than three evaluations after the base it does not.
    """
    return fell(team.drop, last, team.peak) == "fell"


def slope(steps: Sequence[int], accuracy: Sequence[float]) -> float | None:
    """Least-squares slope per step over the last third of the evaluations, rounded up; None if fewer than two."""
    count = -(-len(steps) // 3)
    if count < 2:
        return None
    return float(np.polyfit(steps[-count:], accuracy[-count:], 1)[0])


def _roles(rows: MilestoneRows) -> list[str]:
    return list(dict.fromkeys(role for row in rows.all() for role in row["roles"]))


def _course(rows: MilestoneRows, role: str | None) -> dict[str, Any]:
    """The fields of the course of the team, or of a role."""
    base, peak, terminal = (outcomes_of(found, role) for found in ([rows.base], [rows.peak], rows.last))
    return {
        "base": _accuracy(base),
        "peak": _accuracy(peak),
        "terminal": _accuracy(terminal),
        "gain": _difference(peak, base, is_same=rows.peak == rows.base),
        "drop": _difference(peak, terminal, is_same=[rows.peak] == rows.last),
    }


def _accuracy(means: Mapping[str, float]) -> Interval | None:
    return interval(list(means.values())) if means else None


def _change(after: Sequence[Row], before: Sequence[Row]) -> Interval | None:
    """The team's paired difference."""
    return _difference(outcomes_of(after), outcomes_of(before), is_same=after == before)


def _difference(after: Mapping[str, float], before: Mapping[str, float], *, is_same: bool) -> Interval | None:
    """None if no task has an outcome in both. Between the same evaluations it is exactly 0."""
    both = after.keys() & before.keys()
    if not both:
        return None
    return Interval(0.0, 0.0, 0.0, len(both)) if is_same else difference(after, before)


def _behaviour(rows: MilestoneRows) -> dict[str, Milestones]:
    base, peak, *last = (row["numbers"] for row in rows.all())
    names = dict.fromkeys(name for numbers in (base, peak, *last) for name in numbers)
    return {
        name: Milestones(base.get(name), peak.get(name), _mean([numbers[name] for numbers in last if name in numbers]))
        for name in names
        if name == "episode/oracle" or (name.startswith("role/") and name.rpartition("/")[2] in BEHAVIOUR)
    }


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _course_as_dict(course: Course | RoleCourse) -> dict[str, Any]:
    return {name: _plain(getattr(course, name)) for name in _COURSE}


def _plain(found: Interval | None) -> dict[str, Any] | None:
    return None if found is None else found._asdict()


def _from_plain(found: Mapping[str, Any] | None) -> Interval | None:
    return None if found is None else Interval(**found)
