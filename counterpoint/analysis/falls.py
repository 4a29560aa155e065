"""Falls: one run fell, held, or it cannot be told; how many runs of a cell fell, and in which arm more.

A fall is an event of a run, so that several runs give a rate with an exact interval, and no mean. A run of which it
cannot be told is counted apart, never among those that held. When runs fell is in `survival.py`.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from counterpoint.analysis.intervals import CONFIDENCE, Interval, Z, difference, interval
from counterpoint.analysis.milestones import LAST, MilestoneRows, Row, milestones_of, outcomes_of
from counterpoint.errors import counted

Fell = Literal["fell", "held", "cannot tell"]
CLIFF_DROP = 0.05
"""Least drop of accuracy, as a fraction, that counts as a fall."""
Key = TypeVar("Key", bound=Hashable)
DRAWS = 1000
"""Resamples of the tasks for the range of an onset."""


class Onset(NamedTuple):
    """The beginning of a fall: the first evaluation from which all lie below the peak's interval."""

    step: int
    low: int
    high: int
    """With `low`, the steps between which 95 % of the onsets of resampled tasks lie."""
    missing: float
    """The fraction of the resamples that have no onset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """The course of one run after its peak; an interval is over tasks, of this run and not of its method."""

    fell: Fell
    peak_step: int
    drop: Interval
    """Peak minus terminal accuracy, paired by task; of a run that was rolled back, before that."""
    onset: Onset | None
    """None unless the run fell."""
    stopped: str
    """The reason for which an intervention ended the run; empty if none did."""
    last: int
    """The step of the last evaluation that counts."""
    evaluations: int
    """The number of evaluations after the base that count; with fewer than three it cannot be told."""

    @property
    def ends_at_peak(self) -> bool:
        """True if the last evaluation is the peak."""
        return self.peak_step == self.last


def fell(drop: Interval, last: Sequence[float], peak: Interval, *, ends_at_peak: bool = False) -> Fell:
    """The fate of a run with this drop and peak; `last` is the test accuracy of each of the last evaluations.

    It fell if the drop is at least 5 points with an interval above 0, and each of the last three evaluations is below
    the peak's interval. It held if the interval of the drop ends below 5 points, or if its last evaluation is the peak:
    the drop of a run that still rises is that of evaluations before the peak. Else, and with fewer than three
    evaluations after the base, it cannot be told.
    """
    if len(last) < LAST:
        return "cannot tell"
    if drop.value >= CLIFF_DROP and drop.low > 0.0 and max(last) < peak.low:
        return "fell"
    return "held" if ends_at_peak or drop.high < CLIFF_DROP else "cannot tell"


def fate_of(evaluations: Sequence[Row], final: Sequence[Row] = (), stopped: str = "") -> Fate | None:
    """The fate of a run, from the rows of its `evaluations.jsonl` and `final.jsonl`.

    None without milestones, or if no task was judged both at the peak and at the end.
    `stopped` is the reason for which an intervention ended it. Such a run is judged by the evaluations of the weights
    that it trained, without the one after a roll-back, which repeats the peak. As it was not trained to its end, it
    fell or it cannot be told: it never counts as held.
    """
    trained = [row for row in evaluations if not row.get("rolled_back")]
    found = milestones_of(trained, final)
    drop = _drop(found) if found else None
    if found is None or drop is None:
        return None
    if len(trained) < len(evaluations):
        stopped = stopped or "rolled back"
    peak = _interval(found.peak)
    judged = fell(
        drop,
        [row["accuracy"] for row in found.last],
        peak,
        ends_at_peak=found.peak["step"] == found.last[-1]["step"],
    )
    return Fate(
        fell="cannot tell" if stopped and judged == "held" else judged,
        peak_step=found.peak["step"],
        drop=drop,
        onset=onset(found) if judged == "fell" else None,
        stopped=stopped,
        last=found.test[-1]["step"],
        evaluations=len(found.test) - 1,
    )


def onset(found: MilestoneRows, role: str | None = None, *, draws: int = DRAWS, seed: int = 0) -> Onset | None:
    """The onset of the fall of the team, or of a role, after the team's peak.

    None if the last evaluation is not below the peak's interval, or the role has no outcome at the peak or after it.
    Its range is a percentile bootstrap over the tasks that every evaluation from the peak on has: each resample has its
    own interval of the peak. The step of the peak stays, as validation chose it. Equal seeds give equal ranges.
    """
    rows = [found.peak, *(row for row in found.test if row["step"] > found.peak["step"])]
    given = [(row["step"], own) for row in rows if (own := outcomes_of([row], role))]
    if not given or given[0][0] != found.peak["step"]:
        return None
    steps, outcomes = [step for step, _ in given[1:]], [own for _, own in given]
    level = interval(list(outcomes[0].values())).low
    begun = _first_of_all_below([fmean(own.values()) for own in outcomes[1:]], level)
    if begun is None:
        return None
    tasks = [task for task in outcomes[0] if all(task in one for one in outcomes)]
    if not tasks:
        return Onset(steps[begun], steps[0], steps[-1], 1.0)
    values = np.array([[one[task] for task in tasks] for one in outcomes])
    drawn = np.random.default_rng(seed).integers(len(tasks), size=(draws, len(tasks)))
    levels = _lows(values[0][drawn])
    places = _firsts_of_all_below(np.array([row[drawn].mean(axis=1) < levels for row in values[1:]]))
    kept = np.sort(places[places < len(steps)]).tolist()
    if not kept:
        return Onset(steps[begun], steps[0], steps[-1], 1.0)
    tail = (1.0 - CONFIDENCE) / 2
    low, high = kept[int(tail * len(kept))], kept[min(len(kept) - 1, int((1.0 - tail) * len(kept)))]
    return Onset(steps[begun], steps[min(low, begun)], steps[max(high, begun)], 1.0 - len(kept) / draws)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """The number of runs that fell, with 95 % intervals of the rate.

    The upper ends count every run of which it cannot be told as fallen, the lower ends as held.
    """

    fell: int
    told: int
    """The runs that fell or held."""
    cannot_tell: int
    missing: int
    """The runs that did not finish."""
    low: float
    high: float
    """With `low`, Wilson's score interval (1927)."""
    at_least: float
    at_most: float
    """The exact one-sided bounds (Clopper and Pearson 1934), each at 95 %."""

    @property
    def runs(self) -> int:
        """All runs."""
        return self.told + self.cannot_tell + self.missing

    @property
    def short(self) -> str:
        """The count with its upper bound, for a table: `1 of 5 (at most 66 %)`; `cannot tell (3 runs)` if of none."""
        if self.told == 0:
            parts = [f"cannot tell ({counted(self.cannot_tell, 'run')})"] if self.cannot_tell else []
            return ", ".join([*parts, *([f"{self.missing} did not finish"] if self.missing else [])]) or "no run"
        return f"{self.fell} of {self.told} (at most {percent(self.at_most)}){self._apart()}"

    @property
    def interval(self) -> str:
        """The count with its interval: `4 of 11 fell [15 %, 65 %]`."""
        return f"{self.fell} of {self.told} fell {bracket(self.low, self.high)}{self._apart()}"

    @property
    def words(self) -> str:
        """The count, and the rates that it leaves possible, in a sentence without a full stop."""
        if self.runs == 0:
            return "there is no run"
        if self.fell == 0:
            possible = f"a rate of up to {percent(self.at_most)} is still possible"
        elif self.fell == self.runs:
            possible = f"a rate from {percent(self.at_least)} up is still possible"
        else:
            possible = f"a rate from {percent(self.low)} to {percent(self.high)} is still possible"
        return f"{self.fell} of {self.told} fell{self._apart()}; {possible}"

    def _apart(self) -> str:
        unclear = f", of {self.cannot_tell} more it cannot be told" if self.cannot_tell else ""
        return unclear + (f", {self.missing} did not finish" if self.missing else "")


def rate(fell: int, told: int, *, cannot_tell: int = 0, missing: int = 0) -> Rate:
    """The rate of `fell` of `told` runs. Raises ValueError if a count is negative, or more fell than were told."""
    if not 0 <= fell <= told or cannot_tell < 0 or missing < 0:
        raise ValueError(f"{fell} of {told} runs cannot have fallen, with {cannot_tell} and {missing} more")
    from scipy.stats import binomtest  # here, as every summary needs the rule above, and none the second that it takes

    unclear = cannot_tell + missing
    runs = told + unclear
    if runs == 0:
        return Rate(fell=0, told=0, cannot_tell=0, missing=0, low=0.0, high=1.0, at_least=0.0, at_most=1.0)
    least, most = binomtest(fell, runs), binomtest(fell + unclear, runs)
    above, below = binomtest(fell, runs, alternative="greater"), binomtest(fell + unclear, runs, alternative="less")
    return Rate(
        fell=fell,
        told=told,
        cannot_tell=cannot_tell,
        missing=missing,
        low=float(least.proportion_ci(CONFIDENCE, method="wilson").low),
        high=float(most.proportion_ci(CONFIDENCE, method="wilson").high),
        at_least=float(above.proportion_ci(CONFIDENCE, method="exact").low),
        at_most=float(below.proportion_ci(CONFIDENCE, method="exact").high),
    )


def rate_of(fates: Iterable[Fell | None]) -> Rate:
    """The rate of a cell from the fate of each of its runs; None is a run that did not finish."""
    found = list(fates)
    count = found.count("fell")
    return rate(
        count,
        count + found.count("held"),
        cannot_tell=found.count("cannot tell"),
        missing=found.count(None),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class McNemar:
    """Two arms compared over pairs of runs that differ in nothing else."""

    first: int
    """The pairs in which only the run of the first arm fell."""
    second: int
    """The pairs in which only that of the second arm fell."""
    both: int
    neither: int
    left_out: int
    """The pairs in which it cannot be told of one of the runs, or one of them is missing."""
    p_value: float
    """Two-sided, of the hypothesis that both arms fall equally often."""

    def words(self, one: str, other: str) -> str:
        """The comparison of the arms of these names, in a sentence without a full stop."""
        pairs = self.first + self.second + self.both + self.neither
        left_out = f", {self.left_out} left out" if self.left_out else ""
        return (
            f"in {self.first} of {pairs} pairs only {one} fell, in {self.second} only {other}"
            f" (p = {self.p_value:.2g}, exact McNemar test{left_out})"
        )


def mcnemar(one: Mapping[Key, Fell | None], other: Mapping[Key, Fell | None]) -> McNemar:
    """The exact McNemar test (1947) of two arms, each a map from (cell, seed) to the fate of the run.

    Under the hypothesis the pairs with one fall are fair coins: binomial with 1/2. Without any, p is 1.
    """
    keys = dict.fromkeys((*one, *other))
    pairs = [(one.get(key), other.get(key)) for key in keys]
    told = [pair for pair in pairs if {*pair} <= {"fell", "held"}]
    first, second = told.count(("fell", "held")), told.count(("held", "fell"))
    from scipy.stats import binomtest

    return McNemar(
        first=first,
        second=second,
        both=told.count(("fell", "fell")),
        neither=told.count(("held", "held")),
        left_out=len(pairs) - len(told),
        p_value=float(binomtest(first, first + second).pvalue) if first + second else 1.0,
    )


def percent(share: float) -> str:
    """`63 %`; what is neither 0 nor 1 is never rounded to it."""
    rounded = round(100 * share)
    if rounded == 0 and share > 0.0:
        return "below 1 %"
    return "above 99 %" if rounded == 100 and share < 1.0 else f"{rounded} %"


def bracket(low: float, high: float) -> str:
    """`[15 %, 65 %]`."""
    return f"[{100 * low:.0f} %, {100 * high:.0f} %]"


def _interval(row: Row) -> Interval:
    return interval(list(outcomes_of([row]).values()))


def _drop(found: MilestoneRows) -> Interval | None:
    """Peak minus terminal; between the same evaluations it is exactly 0. None without a task that both have."""
    peak, terminal = outcomes_of([found.peak]), outcomes_of(found.last)
    if not peak.keys() & terminal.keys():
        return None
    return Interval(0.0, 0.0, 0.0, len(peak)) if found.last == [found.peak] else difference(peak, terminal)


def _first_of_all_below(accuracy: Sequence[float], level: float) -> int | None:
    """The place from which all are below the level; None if the last is not."""
    place = len(accuracy)
    while place and accuracy[place - 1] < level:
        place -= 1
    return place if place < len(accuracy) else None


def _lows(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The lower end of `interval` for every row of an array [draws, tasks]."""
    count, mean = values.shape[1], values.mean(axis=1)
    added = count + Z**2
    centre = (values.sum(axis=1) + Z**2 / 2) / added
    spread = (np.square(values).sum(axis=1) + Z**2 / 2) / added - centre**2
    tasks = count * centre * (1.0 - centre) / spread
    shrunk = (mean + Z**2 / (2 * tasks)) / (1 + Z**2 / tasks)
    reach = Z / (1 + Z**2 / tasks) * np.sqrt(mean * (1.0 - mean) / tasks + Z**2 / (4 * tasks**2))
    return np.asarray(np.maximum(0.0, np.minimum(mean, shrunk - reach)))


def _firsts_of_all_below(is_below: NDArray[np.bool_]) -> NDArray[np.intp]:
    """For every column of an array [evaluations, draws] the first row from which all are true; their number if none."""
    return np.asarray(len(is_below) - np.cumprod(is_below[::-1], axis=0).sum(axis=0))
