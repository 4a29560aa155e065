"""The gains of training, on the problems that the base never, sometimes or always solves.

The problems are sorted by tries of the base, and the base's own numbers come from *other* tries: of those by which a
problem was sorted, the base has 0 % on what it never solved by construction, and would gain there without any training.
`docs/statistics.md` has the formulas.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from counterpoint.analysis.comparison import Level, level
from counterpoint.analysis.contrast import Outcomes
from counterpoint.analysis.intervals import Interval, interval
from counterpoint.analysis.passes import pass_at
from counterpoint.analysis.tries import KINDS, MOST, Kind, Tried, Tries, kind_of
from counterpoint.errors import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """The tries of policies before training."""

    sorting: Tried
    """Those by which the problems are sorted."""
    measured: Tried
    """Others, from which its accuracy and pass@k are estimated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """The tries of one method after training, which began from `base`."""

    base: Base
    seeds: Mapping[int, Tried]
    """Seed of the run -> its tries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A number before training, after it, and the difference; fractions from 0 to 1."""

    before: Interval
    """The number of the base, over problems alone: it is the same for every seed."""
    after: Level
    gain: Level
    """After minus before, problem by problem."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """The changes by training on the problems of one kind."""

    kind: Kind
    sorting: int
    """The tries of the base by which a problem was sorted."""
    k: int
    problems: int
    """Problems of this kind. One that is of this kind for several bases counts once, with the mean over them."""
    left_out: int
    """Problems of this kind that some run tried less than k times, and that are therefore not in the numbers."""
    unsorted: int
    """Problems of no kind, because some base tried them less than `sorting` times; the same for every kind."""
    seeds: tuple[int, ...]
    """The seeds that every method has."""
    methods: int
    accuracy: Change | None
    """The fraction of tries that are right; None without a problem or without a seed."""
    any_right: Change | None
    """pass@k: the probability that at least one of k tries is right."""

    @property
    def sentence(self) -> str:
        """The change, in a sentence without a full stop, with the numbers of the base that it must be compared with.

        The share before training is of further tries, and not of those by which the problems were sorted.
        """
        which = f"that the base {self.kind} solved in {self.sorting} tries"
        if self.accuracy is None or self.any_right is None:
            why = "no seed is common to all methods" if self.problems else f"there is no problem {which}"
            return f"{why}{self._left_out}"
        once = (
            f"; at least one of {self.k} is right for {100 * self.any_right.before.value:.1f} % of them before and for"
            f" {_percent(self.any_right.after)} after"
        )
        return (
            f"of {counted(self.problems, 'problem')} {which}, {100 * self.accuracy.before.value:.1f} % of its further"
            f" tries are right, and {_percent(self.accuracy.after)} after training: {_gain(self.accuracy.gain)}"
            f" ({self._over}){once if self.k > 1 else ''}{self._left_out}"
        )

    @property
    def _over(self) -> str:
        assert self.accuracy is not None
        own = self.accuracy.gain
        return counted(own.seeds, "seed") + ("" if own.over_seeds else ", an interval over problems alone")

    @property
    def _left_out(self) -> str:
        short = f"; {counted(self.left_out, 'problem')} left out for lack of tries" if self.left_out else ""
        less = f"; {counted(self.unsorted, 'problem')} of no kind, as the base has less than {self.sorting} tries"
        return short + (less if self.unsorted else "")


def lessons(methods: Sequence[Trained], k: int = MOST) -> tuple[Lesson, ...]:
    """A lesson for each kind of problem, pooled over methods; over the seeds that all of them have.

    A problem is sorted for each method by the method's own base, and a problem that is of the kind for several methods
    has their mean, so that problems stay the unit. k is lowered to the number of tries that there are. Raises
    ValueError without a method, and for a method without a run.
    """
    if not methods or not all(one.seeds for one in methods):
        raise ValueError("what training taught needs at least one method with a trained run")
    seeds = tuple(sorted(set.intersection(*(set(one.seeds) for one in methods))))
    sorting = min(_most(one.base.sorting) for one in methods)
    k = max(1, min(k, *(_most(found) for one in methods for found in (one.base.measured, *one.seeds.values()))))
    return tuple(_lesson(kind, methods, seeds, sorting, k) for kind in KINDS)


def _most(tried: Tried) -> int:
    return max((found.tries for found in tried.values()), default=0)


def _lesson(kind: Kind, methods: Sequence[Trained], seeds: Sequence[int], sorting: int, k: int) -> Lesson:
    members = {
        place: {problem for problem, found in one.base.sorting.items() if _is(kind, found, sorting)}
        for place, one in enumerate(methods)
    }
    every = set().union(*members.values())
    short = {
        problem
        for place, one in enumerate(methods)
        for problem in members[place]
        if any(_tries(tried, problem) < k for tried in (one.base.measured, *(one.seeds[seed] for seed in seeds)))
    }
    kept = sorted(every - short)
    where = {problem: [methods[place] for place in members if problem in members[place]] for problem in kept}
    measurable = bool(kept) and bool(seeds)
    return Lesson(
        kind=kind,
        sorting=sorting,
        k=k,
        problems=len(kept),
        left_out=len(short),
        unsorted=len(set().union(*(_unsorted(one, sorting) for one in methods))),
        seeds=tuple(seeds),
        methods=len(methods),
        accuracy=_change(where, seeds, 1) if measurable else None,
        any_right=_change(where, seeds, k) if measurable else None,
    )


def _unsorted(method: Trained, sorting: int) -> set[str]:
    every = set().union(method.base.sorting, method.base.measured, *method.seeds.values())
    return {problem for problem in every if _tries(method.base.sorting, problem) < sorting}


def _is(kind: Kind, found: Tries, sorting: int) -> bool:
    return found.tries >= sorting and kind_of(found) == kind


def _tries(tried: Tried, problem: str) -> int:
    return tried[problem].tries if problem in tried else 0


def _change(where: Mapping[str, Sequence[Trained]], seeds: Sequence[int], k: int) -> Change:
    """pass@k of each problem, the mean over the methods for which it is of the kind; pass@1 is the accuracy."""
    before = np.array([fmean(_pass(one.base.measured[name], k) for one in own) for name, own in where.items()])
    after: Outcomes = np.array(
        [[fmean(_pass(one.seeds[seed][name], k) for one in own) for name, own in where.items()] for seed in seeds]
    )
    return Change(
        before=interval([float(value) for value in before]),
        after=level(np.clip(after, 0.0, 1.0), difference=False),
        gain=level(after - before, difference=True),
    )


def _pass(found: Tries, k: int) -> float:
    return pass_at(found.tries, found.right, k)


def _percent(found: Level) -> str:
    """`12.3 % [8.1, 16.5]`, within 0 and 100."""
    value, low, high = found.shown
    return f"{100 * value:.1f} % [{100 * max(0.0, low):.1f}, {100 * min(1.0, high):.1f}]"


def _gain(found: Level) -> str:
    """`11.9 points more [7.7, 16.1]`, or that it cannot be told whether there are more or less."""
    value, low, high = (100 * one for one in found.shown)
    if low <= 0.0 <= high:
        return f"cannot tell whether more, {value:+.1f} points [{low:.1f}, {high:.1f}]"
    if high < 0.0:
        return f"{-value:.1f} points less [{-high:.1f}, {-low:.1f}]"
    return f"{value:.1f} points more [{low:.1f}, {high:.1f}]"
