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
    """Problems of this kind; each counts once, with the mean over the methods that have it."""
    left_out: int
    """Problems of this kind that some run tried less than k times, and that are therefore not in the numbers."""
    unsorted: int
    """Problems of no kind, because some base tried them less than `sorting` times; the same for every kind."""
    bases: int
    """The bases of the methods."""
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
        if self.accuracy is None or self.any_right is None:
            why = "no seed is common to all methods" if self.problems else f"there is no problem {self._which}"
            return f"{why}{self._left_out}"
        once = (
            f"; at least one of {self.k} is right for {100 * self.any_right.before.value:.1f} % of them before and for"
            f" {_percent(self.any_right.after)} after"
        )
        whose = "its" if self.bases == 1 else "their"
        return (
            f"of {counted(self.problems, 'problem')} {self._which}, {100 * self.accuracy.before.value:.1f} % of {whose}"
            f" further tries are right, and {_percent(self.accuracy.after)} after training:"
            f" {_gain(self.accuracy.gain)} ({self._over}){once if self.k > 1 else ''}{self._left_out}"
        )

    @property
    def _which(self) -> str:
        if self.bases == 1:
            return f"that the base {self.kind} solved in {self.sorting} tries"
        who = "none" if self.kind == "never" else "all" if self.kind == "always" else "some, and not always all,"
        solved = "solved always" if self.kind == "always" else "solved"
        return f"that {who} of {self.bases} bases {solved} in {self.sorting} tries each"

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

    A problem that no base solved in any try is one of "never", one that each solved in every try one of "always": what
    one workflow never solves, another may solve with the same model. It has the mean over the methods, so that problems
    stay the unit. k is lowered to the number of tries that there are. Raises
    ValueError without a method, and for a method without a run.
    """
    if not methods or not all(one.seeds for one in methods):
        raise ValueError("what training taught needs at least one method with a trained run")
    seeds = tuple(sorted(set.intersection(*(set(one.seeds) for one in methods))))
    sorting = min(_most(one.base.sorting) for one in methods)
    k = max(1, min(k, *(_most(found) for one in methods for found in (one.base.measured, *one.seeds.values()))))
    having = _having(methods)
    kinds = {problem: kind for problem, own in having.items() if (kind := _kind(problem, own, sorting)) is not None}
    return tuple(_lesson(kind, kinds, having, methods, seeds, sorting, k) for kind in KINDS)


def _having(methods: Sequence[Trained]) -> dict[str, list[Trained]]:
    """Problem -> the methods that have it."""
    found: dict[str, list[Trained]] = {}
    for one in methods:
        for problem in set().union(one.base.sorting, one.base.measured, *one.seeds.values()):
            found.setdefault(problem, []).append(one)
    return found


def _kind(problem: str, methods: Sequence[Trained], sorting: int) -> Kind | None:
    """The kind of a problem by the tries of all bases; None if one of them tried it too little."""
    if any(_tries(one.base.sorting, problem) < sorting for one in methods):
        return None
    kinds = {kind_of(one.base.sorting[problem]) for one in methods}
    return kinds.pop() if len(kinds) == 1 else "sometimes"


def _most(tried: Tried) -> int:
    return max((found.tries for found in tried.values()), default=0)


def _lesson(
    kind: Kind,
    kinds: Mapping[str, Kind],
    having: Mapping[str, Sequence[Trained]],
    methods: Sequence[Trained],
    seeds: Sequence[int],
    sorting: int,
    k: int,
) -> Lesson:
    every = {problem for problem, own in kinds.items() if own == kind}
    short = {problem for problem in every if any(_is_short(problem, one, seeds, k) for one in having[problem])}
    where = {problem: having[problem] for problem in sorted(every - short)}
    measurable = bool(where) and bool(seeds)
    return Lesson(
        kind=kind,
        sorting=sorting,
        k=k,
        problems=len(where),
        left_out=len(short),
        unsorted=len(having.keys() - kinds.keys()),
        bases=len({id(one.base) for one in methods}),
        seeds=tuple(seeds),
        methods=len(methods),
        accuracy=_change(where, seeds, 1) if measurable else None,
        any_right=_change(where, seeds, k) if measurable else None,
    )


def _is_short(problem: str, method: Trained, seeds: Sequence[int], k: int) -> bool:
    """True if the method, before or after training, tried the problem less than k times."""
    return any(_tries(tried, problem) < k for tried in (method.base.measured, *(method.seeds[seed] for seed in seeds)))


def _tries(tried: Tried, problem: str) -> int:
    return tried[problem].tries if problem in tried else 0


def _change(where: Mapping[str, Sequence[Trained]], seeds: Sequence[int], k: int) -> Change:
    """pass@k of each problem, the mean over the methods that have it; pass@1 is the accuracy."""
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
