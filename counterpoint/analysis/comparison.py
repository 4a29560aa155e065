"""Two methods compared over seeds and tasks: the difference, a verdict with its margin, and a sentence that says it.

`paired.py` compares two checkpoints; here a side is a group of runs that differ in their seed alone. When a verdict is
valid, and how often it errs, is in `docs/statistics.md`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from counterpoint.analysis.contrast import (
    CONFIDENCE,
    ROUNDING,
    Estimate,
    Outcomes,
    Part,
    check,
    contrast,
    over_tasks,
    strictest,
    visible_at,
)
from counterpoint.analysis.intervals import Interval, interval
from counterpoint.analysis.outliers import points, unlike_warning
from counterpoint.analysis.outliers import unlike_the_rest as unlike_the_rest
from counterpoint.analysis.power import Components, Needed, components, needed
from counterpoint.errors import ConfigError, RunError

Verdict = Literal["ahead", "alike", "cannot tell"]
MARGIN = 0.03
"""Differences within it count as alike."""
MISSING = 0.2
"""The largest fraction of a side's runs that may be missing from a comparison that names one or calls both alike."""
LEFT_OUT = 0.05
"""The largest fraction of tasks that may be left out of a comparison without a warning."""
PAIRED = 0.8
"""The smallest fraction of the seeds of the larger side that both must have to be paired."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """The runs of one method."""

    name: str
    seeds: tuple[int, ...]
    values: Outcomes
    """[seeds, tasks], in the order of `seeds`; both sides have the same tasks in the same order."""
    planned: int = 0
    """The runs that there should be; 0 for as many as there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodComparison:
    """The difference of two methods, one minus the other."""

    one: str
    other: str
    estimate: Estimate | None
    """Over seeds and tasks; None if a side has one seed."""
    tasks_alone: Interval
    """Over tasks alone: of these runs, not of their methods."""
    paired: bool
    """True if the runs were paired by seed."""
    seeds: tuple[int, int]
    """The runs of each side that the difference is made of."""
    tasks: int
    margin: float
    verdict: Verdict
    reasons: tuple[str, ...]
    """Why the verdict is "cannot tell", where the interval alone does not say it."""
    warnings: tuple[str, ...]
    variances: Components | None = None
    """Those of one seed and one task; None if a side has one seed, or two parts have different numbers of seeds."""
    comparisons: int = 1
    """The number of comparisons for which it is corrected."""
    bound: float = 2.0
    """The largest difference that there can be: 1 of accuracies, 2 of gains."""

    @property
    def over_seeds(self) -> bool:
        """True if the interval is over seeds and tasks."""
        return _varies(self.estimate)

    @property
    def shown(self) -> tuple[float, float, float]:
        """Value, low and high: over seeds and tasks or, with one seed or without any spread, over tasks alone.

        Ends that no difference can have are cut off.
        """
        return _shown(self.estimate, self.tasks_alone, self.bound)

    @property
    def visible(self) -> float | None:
        """The smallest true difference that is found in 80 % of such studies, after the correction; None if unknown."""
        if self.estimate is None or not self.over_seeds:
            return None
        return visible_at(self.estimate, self._confidence)

    @property
    def needed(self) -> Needed | None:
        """The seeds, or else the tasks, that find a difference of the margin in 80 % of studies; None if unknown."""
        if self.variances is None or not self.margin or not self.over_seeds:
            return None
        return needed(self.variances, self.margin, min(self.seeds), self.tasks, self._confidence)

    @property
    def _confidence(self) -> float:
        """That of one comparison where the correction is strictest."""
        return strictest(self.comparisons)

    @property
    def leader(self) -> str:
        """The name of the method that is ahead; empty without one."""
        return "" if self.verdict != "ahead" else self.one if self.shown[0] > 0 else self.other

    @property
    def small(self) -> bool:
        """True if one is ahead, by less than the margin: the whole interval lies within it."""
        _, low, high = self.shown
        return self.verdict == "ahead" and -self.margin < low and high < self.margin

    @property
    def sentence(self) -> str:
        """The verdict with its numbers, in points of accuracy."""
        value, low, high = self.shown
        if self.verdict == "ahead" and value < 0:
            value, low, high = -value, -high, -low
        numbers = f"{points(value)} points [{points(low)}, {points(high)}]"
        if self.verdict == "ahead":
            small = f", less than the margin of {in_points(self.margin)}" if self.small else ""
            return f"{self.leader} is ahead by {numbers}{small} ({self.base})"
        difference = f"{self.one} minus {self.other} is {numbers} ({self.base})"
        if self.verdict == "alike":
            return f"{self.one} and {self.other} are alike within {in_points(self.margin)}: {difference}"
        why = f", because {' and '.join(self.reasons)}" if self.reasons else ""
        return f"cannot tell{why}: {difference}{self._power}"

    @property
    def _power(self) -> str:
        """The difference that such studies find, and the size of those that find the margin, in words."""
        visible = self.visible
        if visible is None:
            return ""
        if visible > self.bound:
            return "; no difference that there can be would be found in 80 % of such studies"
        told = f"; {points(visible)} points would be found in 80 % of such studies"
        size, margin = self.needed, in_points(self.margin)
        if size is None or visible <= self.margin:
            return told
        if size.seeds is not None:
            return f"{told}, {margin} with about {size.seeds} seeds"
        more = "" if size.tasks is None else f", but on about {_rounded(size.tasks)}"
        return f"{told}, {margin} with no number of seeds on {_count(self.tasks, 'task')}{more}"

    @property
    def base(self) -> str:
        """The numbers of seeds and tasks on which it is based, in words."""
        one, other = self.seeds
        if self.estimate is None:
            seeds = _count(one, "seed") if one == other else f"{one} and {other} seeds"
            return f"{seeds}, an interval over {_count(self.tasks, 'task')} alone"
        if not self.over_seeds:
            pairs = f"{one} paired" if self.paired else f"{one} and {other}"
            return f"{pairs} seeds without any spread, an interval over {_count(self.tasks, 'task')} alone"
        pairs = f"{one} paired seeds" if self.paired else f"{one} and {other} seeds, not paired"
        return f"{pairs}, {self.tasks} tasks"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, with the sentence and the method that is ahead."""
        return {
            **asdict(self),
            "tasks_alone": self.tasks_alone._asdict(),
            "leader": self.leader,
            "small": self.small,
            "visible": self.visible,
            "needed": None if self.needed is None else asdict(self.needed),
            "sentence": self.sentence,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """An accuracy, or a difference of two, of the runs of one method."""

    estimate: Estimate | None
    """Over seeds and tasks; None with one seed."""
    tasks_alone: Interval
    """Over tasks alone: of these runs, not of their method."""
    seeds: int

    @property
    def over_seeds(self) -> bool:
        """True if the interval is over seeds and tasks."""
        return _varies(self.estimate)

    @property
    def shown(self) -> tuple[float, float, float]:
        """Value, low and high: over seeds and tasks or, with one seed or without any spread, over tasks alone."""
        return _shown(self.estimate, self.tasks_alone, 1.0)

    @property
    def words(self) -> str:
        """The value with its interval, in percent, and the numbers of seeds and tasks on which it is based."""
        value, low, high = map(points, self.shown)
        tasks = _count(self.tasks_alone.n, "task")
        base = tasks if self.over_seeds else f"an interval over {tasks} alone"
        return f"{value} [{low}, {high}] ({_count(self.seeds, 'seed')}, {base})"


def compare_methods(
    one: Side,
    other: Side,
    *,
    left_out: int = 0,
    margin: float = MARGIN,
    confidence: float = CONFIDENCE,
    bound: float = 2.0,
) -> MethodComparison:
    """The difference between two sides, paired by seed where their seeds are equal, and otherwise as two parts.

    Where a few runs are missing, the seeds that both have are paired, if they are at least 80 % of those of the larger
    side. `left_out` counts the tasks that a run has no outcome for; `bound` is the largest
    difference that there can be. With more than 20 % of a side's planned runs
    missing, or with one seed, the verdict is "cannot tell". Raises RunError if a side has no run or one seed twice, or
    if the tasks are not the same in number or none; ConfigError if the margin is not between 0 and 1.
    """
    if not 0.0 <= margin < 1.0:
        raise ConfigError(f"a margin is a difference in accuracy, at least 0 and less than 1, not {margin}")
    for side in (one, other):
        _check(side, other.values.shape[-1])
    seeds = paired_seeds(one, other)
    used = [_rows(side, seeds) if seeds else side for side in (one, other)]
    parts = _parts(used[0], used[1], paired=bool(seeds))
    alone = over_tasks(parts)
    several = min(len(side.seeds) for side in used) > 1 and alone.n > 1
    found = contrast(parts, confidence) if several else None
    reasons = [*_one_seed(used), *_one_task(alone.n), *_missing((one, other))]
    verdict: Verdict = "cannot tell" if found is None or reasons else verdict_of(found, alone, margin)
    if found is not None and verdict == "cannot tell" and not reasons:
        reasons += _tasks_disagree(found, alone, margin)
    return MethodComparison(
        one=one.name,
        other=other.name,
        estimate=found,
        tasks_alone=alone,
        paired=bool(seeds),
        seeds=(len(used[0].seeds), len(used[1].seeds)),
        tasks=alone.n,
        margin=margin,
        verdict=verdict,
        reasons=tuple(reasons),
        warnings=(*_left_out(left_out, alone.n), *_alone((one, other), seeds), *_unlike(used, parts)),
        variances=components(parts) if several and len({len(found) for _, found in parts}) == 1 else None,
        bound=bound,
    )


def verdict_of(found: Estimate, tasks_alone: Interval, margin: float = MARGIN) -> Verdict:
    """Ahead if the interval excludes 0, alike if it lies within the margin on both sides, and otherwise "cannot tell".

    An interval that does both is ahead. The interval over tasks alone must say the same: where all runs agree on nearly
    every task, the spread of the few tasks that were played says too little about others.
    """
    intervals = ((found.low, found.high), (tasks_alone.low, tasks_alone.high))
    if all(low > 0 for low, _ in intervals) or all(high < 0 for _, high in intervals):
        return "ahead"
    return "alike" if is_within(found, tasks_alone, margin) else "cannot tell"


def is_within(found: Estimate, tasks_alone: Interval, margin: float) -> bool:
    """True if both intervals lie within the margin, on both sides."""
    return -margin < min(found.low, tasks_alone.low) and max(found.high, tasks_alone.high) < margin


def level(values: Outcomes, *, difference: bool, confidence: float = CONFIDENCE) -> Level:
    """The mean of [seeds, tasks]; `difference` for values from -1 to 1 (a gain, a drop), otherwise from 0 to 1.

    Raises RunError without a run or a task, and ValueError for an outcome that is missing or out of this range.
    """
    if values.ndim != 2 or 0 in values.shape:
        raise RunError("there is nothing to average: no finished run has outcomes")
    check([(1.0, values)], seeds=1, tasks=1)
    if difference:
        alone = over_tasks([(1.0, values)])
    else:
        if values.min() < 0.0 or values.max() > 1.0 + ROUNDING:
            raise ValueError(f"accuracies lie between 0 and 1, not from {values.min():g} to {values.max():g}")
        alone = interval([float(value) for value in values.mean(axis=0)])
    found = contrast([(1.0, values)], confidence) if min(values.shape) > 1 else None
    return Level(estimate=found, tasks_alone=alone, seeds=values.shape[0])


def paired_seeds(one: Side, other: Side) -> list[int]:
    """The seeds over which two sides are paired, ascending; none if they are two parts."""
    both = sorted(set(one.seeds) & set(other.seeds))
    most = max(len(one.seeds), len(other.seeds))
    return both if len(both) == most or (len(both) > 1 and len(both) >= PAIRED * most) else []


def _parts(one: Side, other: Side, *, paired: bool) -> list[Part]:
    return [(1.0, one.values - other.values)] if paired else [(1.0, one.values), (-1.0, other.values)]


def _rows(side: Side, seeds: Sequence[int]) -> Side:
    rows = [side.seeds.index(seed) for seed in seeds]
    return Side(name=side.name, seeds=tuple(seeds), values=side.values[rows], planned=side.planned)


def _check(side: Side, tasks: int) -> None:
    if not side.seeds:
        raise RunError(f"nothing can be compared: {side.name} has no finished run")
    if twice := sorted({seed for seed in side.seeds if side.seeds.count(seed) > 1}):
        raise RunError(f"two runs of {side.name} have the seed {twice[0]}: runs of one method differ in their seed")
    if side.values.shape != (len(side.seeds), tasks) or not tasks:
        raise RunError(
            f"nothing can be compared: {side.name} has outcomes of shape {list(side.values.shape)}, not "
            f"{len(side.seeds)} seeds by {tasks or 'at least 1'} tasks"
        )
    if missing := int(np.count_nonzero(~np.isfinite(side.values))):
        raise RunError(f"{missing} outcomes of {side.name} are missing: tasks without an outcome must be left out")


def _one_seed(sides: Sequence[Side]) -> list[str]:
    short = [side.name for side in sides if len(side.seeds) < 2]
    return [f"one seed of {' and of '.join(short)} says nothing about the next"] if short else []


def _one_task(tasks: int) -> list[str]:
    return ["one task says nothing about others"] if tasks < 2 else []


def _missing(sides: Sequence[Side]) -> list[str]:
    return [
        f"{side.planned - len(side.seeds)} of {side.planned} runs of {side.name} are missing"
        for side in sides
        if side.planned - len(side.seeds) > MISSING * side.planned
    ]


def _left_out(left_out: int, tasks: int) -> list[str]:
    every = left_out + tasks
    if left_out <= LEFT_OUT * every:
        return []
    return [f"{left_out} of {every} tasks were left out: a run has no outcome for them"]


def _alone(sides: Sequence[Side], seeds: Sequence[int]) -> list[str]:
    dropped = sum(len(side.seeds) - len(seeds) for side in sides) if seeds else 0
    return [f"{_count(dropped, 'run')} without a partner of the same seed left out"] if dropped else []


def _tasks_disagree(found: Estimate, alone: Interval, margin: float) -> list[str]:
    """The interval over tasks alone, if it is the one that takes a verdict away."""
    own = Interval(found.value, found.low, found.high, alone.n)
    if not _varies(found) or verdict_of(found, own, margin) == "cannot tell":
        return []
    return [f"over the {alone.n} tasks alone it is [{points(alone.low)}, {points(alone.high)}]"]


def _unlike(sides: Sequence[Side], parts: Sequence[Part]) -> list[str]:
    """One warning for each group of runs in which one is unlike the rest."""
    told = [
        unlike_warning(values.mean(axis=1), side.seeds, "" if len(parts) == 1 else side.name)
        for side, (_, values) in zip(sides, parts, strict=False)
    ]
    return [warning for warning in told if warning]


def _varies(found: Estimate | None) -> bool:
    return found is not None and found.error > 0.0


def _shown(found: Estimate | None, alone: Interval, bound: float) -> tuple[float, float, float]:
    if found is None or not _varies(found):
        return alone.value, alone.low, alone.high
    return found.value, max(-bound, found.low), min(bound, found.high)


def _count(number: int, of: str) -> str:
    return f"{number} {of}" if number == 1 else f"{number} {of}s"


def _rounded(number: int) -> int:
    """Two significant digits: more would say too much."""
    return int(float(f"{number:.2g}"))


def in_points(margin: float) -> str:
    """`3 points`, `1 point`, `2.5 points`: a margin."""
    return _count(round(100 * margin), "point") if round(100 * margin, 9).is_integer() else f"{100 * margin:g} points"
