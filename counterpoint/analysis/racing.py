"""A race of methods over paired seeds: after each round, who is ahead, who is out, or that more rounds are needed.

A round is one run of every method that is still in the race, all with the same seed. From the third round to the
eighth the difference of every two methods is looked at with `contrast`, at one constant level c for every look. The
intervals are repeated confidence intervals (Jennison and Turnbull 1989): all looks together miss the truth in at most
5 % of races, whenever one stops and whether or not one goes on.

c depends on what the variance is made of. If seeds alone varied, c would be 0.0144, the level at which six looks of a
paired t test err in 5 %. `contrast` also counts tasks, with degrees of freedom that it estimates (Satterthwaite), which
are too many where few seeds happen to agree: at 0.0144 it errs in up to 7.8 %. `LEVEL` is what holds for every ratio of
the two, found on a grid of simulated races.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from counterpoint.analysis.comparison import MISSING, unlike_the_rest, verdict_of
from counterpoint.analysis.contrast import Estimate, contrast, over_tasks, terms
from counterpoint.analysis.intervals import Z

FIRST, LAST = 3, 8
"""The rounds after which there is a first and a last look."""
MOST_ARMS = 4
LEVEL = {2: 0.0056, 3: 0.0056, 4: 0.0022}
"""Arms -> c: with it the six looks at one pair err in 5 % of races at most, with four arms in 3.3 %."""
WRONG = {2: 0.025, 3: 0.05, 4: 0.05}
"""Arms -> the largest probability that a race names an arm although another one is better.

To be named, an arm must put the best one behind: one side of one interval with two arms, two of them with three.
"""
SAMPLES = (1, 2, 4, 8)
SHARE = 0.3
"""The largest share of a round's cost that evaluations of several samples may have."""
FARTHEST = 200

Outcome = NDArray[np.float64]
"""[tasks]: the mean outcome of each task; the same tasks in every run of a race."""
Runs = Mapping[str, Mapping[int, Outcome]]
"""Arm -> seed -> its outcomes; a run that was made and has none is absent."""
Call = Literal["ahead", "alike", "cannot tell"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two arms at a look: one minus the other."""

    one: str
    other: str
    estimate: Estimate | None
    """The difference over the seeds that both have; None with fewer than 3 of them, or fewer than 2 tasks."""
    call: Call
    reason: str = ""
    """Why the call is "cannot tell", if not for the width of the interval."""
    decided_by: int | None = None
    """The number of paired seeds that would probably decide; None if the tasks are too few for any number, or it is
    decided."""
    tasks_needed: int | None = None
    """The number of tasks with which seeds could decide, where the present ones are too few."""

    @property
    def leader(self) -> str:
        """The arm that is ahead; empty if none is."""
        if self.call != "ahead" or self.estimate is None:
            return ""
        return self.one if self.estimate.value > 0 else self.other

    @property
    def trailer(self) -> str:
        """The arm that is behind; empty if none is."""
        return "" if not self.leader else self.other if self.leader == self.one else self.one


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A race after some rounds."""

    call: Call
    decided: bool
    """True if no further round can change the call."""
    rounds: int
    """The rounds that the call is based on."""
    left: tuple[str, ...]
    """The arms that are still in the race."""
    behind: tuple[Pair, ...]
    """For every arm that is out: the pair that put it out, at the look when it did."""
    pairs: tuple[Pair, ...]
    """The pairs of the arms that are left, at the last look."""


def race(runs: Runs, seeds: Sequence[int], margin: float, *, first: int = FIRST) -> Standing:
    """The race after the rounds with these seeds, in their order, as if each had been looked at when it was done.

    The arms are those of `runs`. The first look is after `first` rounds, at least 3, and the race ends at the first
    look that decides: later rounds do not count. A pair in which more than 20 % of an arm's runs are missing, or in
    which one run is unlike the rest, decides nothing. Raises ValueError for fewer than 2 arms or more than 4, and for
    more than 8 rounds, to which the level does not reach.
    """
    if len(seeds) > LAST:
        raise ValueError(f"a race has at most {LAST} rounds, not {len(seeds)}")
    level = level_of(len(runs))
    left, behind = tuple(runs), list[Pair]()
    pairs = _pairs(runs, left, seeds[: FIRST - 1], margin, level)
    for count in range(max(first, FIRST), len(seeds) + 1):
        pairs = _pairs(runs, left, seeds[:count], margin, level)
        out = {pair.trailer: pair for pair in pairs if pair.trailer}
        behind += out.values()
        left = tuple(arm for arm in left if arm not in out)
        pairs = tuple(pair for pair in pairs if pair.one in left and pair.other in left)
        call: Call = "ahead" if len(left) == 1 else "alike" if _all_alike(pairs) else "cannot tell"
        if call != "cannot tell":
            return _standing(call, count, left, behind, pairs)
    told = [_with_prospects(pair, runs, seeds, margin, level) for pair in pairs]
    return _standing("cannot tell", len(seeds), left, behind, told)


def level_of(arms: int) -> float:
    """The level c for a race of this many arms. Raises ValueError for fewer than 2 or more than 4."""
    if arms not in LEVEL:
        raise ValueError(f"a race has 2 to {MOST_ARMS} arms, not {arms}")
    return LEVEL[arms]


def compare(one: str, other: str, runs: Runs, seeds: Sequence[int], margin: float, level: float) -> Pair:
    """Two arms after the rounds with these seeds, at one look."""
    both, rows = _paired(runs, one, other, seeds)
    if len(both) < FIRST:
        return Pair(one=one, other=other, estimate=None, call="cannot tell", reason=f"fewer than {FIRST} paired seeds")
    if rows.shape[1] < 2:
        return Pair(one=one, other=other, estimate=None, call="cannot tell", reason="fewer than 2 tasks")
    parts = [(1.0, rows)]
    found = contrast(parts, 1.0 - level)
    reason = _missing(one, other, runs, seeds) or _unlike(rows, both, margin)
    call = "cannot tell" if reason else verdict_of(found, over_tasks(parts), margin)
    return Pair(one=one, other=other, estimate=found, call=call, reason=reason)


def seeds_to_decide(rows: NDArray[np.float64], margin: float, level: float) -> int | None:
    """The number of paired seeds that would probably decide between two arms, more than there are.

    `rows` is [seeds, tasks]. With s² the variance of the row means, f the part of the variance that more seeds do not
    lower, and V(n) = s²/n + f, it is the smallest n, if the estimate L is the truth, with which t(n - 1) sqrt(V(n)) and
    the reach of the interval over tasks alone are both below |L|, or both below margin - |L|. None if there is none up
    to 200.
    """
    value, spread, fixed, noise = _variance(rows)
    counts = np.arange(len(rows) + 1, FARTHEST + 1)
    reach = student.ppf(1.0 - level / 2, counts - 1) * (spread / counts + fixed) ** 0.5
    centre, alone = _over_tasks(value, fixed + noise / counts, rows.shape[1])
    ahead = (reach < abs(value)) & (alone < centre)
    alike = (reach < margin - abs(value)) & (alone < margin - centre)
    enough = ahead | alike
    return int(counts[enough.argmax()]) if enough.any() else None


def tasks_to_decide(rows: NDArray[np.float64], margin: float) -> int:
    """The number of tasks with which the part that seeds do not lower is a quarter of what has to be told apart.

    With it, two arms that are right on the same tasks have an interval over tasks alone of half of that on either side.
    """
    value, _, fixed, _ = _variance(rows)
    reach = max(abs(value), margin - abs(value))
    told = rows.shape[1] * max(1.0, fixed / (reach / 4) ** 2)
    return int(np.ceil(max(told, 2 * Z * 2**0.5 / reach)))


def samples_for(tasks: int, margin: float, share: Callable[[int], float], accuracy: float = 0.5) -> int:
    """The episodes per task with which a run is evaluated at its peak: 1, 2, 4 or 8.

    The smallest m with which sampling alone gives a difference of two runs a standard deviation
    sqrt(2 p (1 - p) / (tasks m)) of half the margin, at the accuracy p; if evaluating m times costs more than 30 % of a
    round (`share(m)`), the largest m that does not, and at least 1.
    """
    affordable = [count for count in SAMPLES if count == 1 or share(count) < SHARE]
    enough = [m for m in affordable if (2 * accuracy * (1 - accuracy) / (tasks * m)) ** 0.5 <= margin / 2]
    return min(enough) if enough else max(affordable)


def _pairs(runs: Runs, left: Sequence[str], seeds: Sequence[int], margin: float, level: float) -> tuple[Pair, ...]:
    return tuple(compare(one, other, runs, seeds, margin, level) for one, other in combinations(left, 2))


def _all_alike(pairs: Sequence[Pair]) -> bool:
    return bool(pairs) and all(pair.call == "alike" for pair in pairs)


def _standing(call: Call, rounds: int, left: Sequence[str], behind: list[Pair], pairs: Sequence[Pair]) -> Standing:
    return Standing(
        call=call,
        decided=call != "cannot tell",
        rounds=rounds,
        left=tuple(left),
        behind=tuple(behind),
        pairs=tuple(pairs),
    )


def _paired(runs: Runs, one: str, other: str, seeds: Sequence[int]) -> tuple[list[int], NDArray[np.float64]]:
    """The seeds that both arms have, and [seeds, tasks]: one minus the other."""
    both = [seed for seed in seeds if seed in runs[one] and seed in runs[other]]
    rows = [runs[one][seed] - runs[other][seed] for seed in both]
    return both, np.stack(rows) if rows else np.zeros((0, 0))


def _with_prospects(pair: Pair, runs: Runs, seeds: Sequence[int], margin: float, level: float) -> Pair:
    """The pair, if it is not decided, with what would probably decide it."""
    if pair.call != "cannot tell" or pair.estimate is None:
        return pair
    rows = _paired(runs, pair.one, pair.other, seeds)[1]
    needed = seeds_to_decide(rows, margin, level)
    return replace(pair, decided_by=needed, tasks_needed=tasks_to_decide(rows, margin) if needed is None else None)


def _missing(one: str, other: str, runs: Runs, seeds: Sequence[int]) -> str:
    """The arms of whose runs too many are missing, in words."""
    lost = {arm: sum(seed not in runs[arm] for seed in seeds) for arm in (one, other)}
    told = [f"{lost[arm]} of {len(seeds)} runs of {arm} failed" for arm in lost if lost[arm] > MISSING * len(seeds)]
    return " and ".join(told)


def _unlike(rows: NDArray[np.float64], seeds: Sequence[int], margin: float) -> str:
    """The run that is unlike the rest, in words; empty if there is none."""
    means = rows.mean(axis=1).tolist()
    which = unlike_the_rest(means, margin)
    if which is None:
        return ""
    others = [100 * mean for place, mean in enumerate(means) if place != which]
    return (
        f"one run is unlike the rest (seed {seeds[which]}: a difference of {100 * means[which]:+.1f} points, the others"
        f" {min(others):+.1f} to {max(others):+.1f})"
    )


def _variance(rows: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """The mean, the variance that one seed adds to it, the part that more seeds do not lower, and one seed's noise."""
    found = terms([(1.0, rows)])
    noise = found.noise[0]
    one = len(rows) * noise
    return found.value, max(len(rows) * found.seeds[0], one), max(0.0, found.tasks - noise), one


def _over_tasks(value: float, variance: NDArray[np.float64], tasks: int) -> tuple[float, NDArray[np.float64]]:
    """The distance from 0 of the centre of the interval over tasks alone, and its reach, for variances of the mean."""
    centre = abs(value) * tasks / (tasks + 2)
    squares = (tasks - 1) * tasks * variance + tasks * value**2 + 2.0
    return centre, Z * ((squares / (tasks + 2) - centre**2) / (tasks + 2)) ** 0.5
