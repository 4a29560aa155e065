"""pass@k and majority@k: unbiased estimates from n >= k attempts at each problem."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from math import comb
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from counterpoint.analysis.intervals import Interval, interval


class Attempt(NamedTuple):
    """One of several independent answers to a problem."""

    answer: str | None
    """None if there is no answer: the attempt is wrong and has no vote."""
    right: bool


Attempts = Mapping[str, Sequence[Attempt]]
"""Task id -> the attempts at it that could be judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passes:
    """pass@k and majority@k over tasks, for several k."""

    any_right: Mapping[int, Interval]
    """k -> pass@k: the probability that at least one of k attempts is right."""
    majority: Mapping[int, Interval]
    """k -> majority@k: the probability that the most frequent answer of k attempts is right."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values: `{"pass": {"1": {value, low, high, n}, ...}, "majority": ...}`."""
        found = asdict(self)
        return {
            plain: {str(k): Interval(*value)._asdict() for k, value in found[name].items()}
            for plain, name in (("pass", "any_right"), ("majority", "majority"))
        }


def passes(attempts: Attempts, samples: int) -> Passes:
    """pass@k and majority@k for k = 1, 2, 4, ... up to `samples`, each over the tasks with at least k attempts.

    The n of an interval is the number of these tasks, so different k may be over different tasks.
    """
    any_right: dict[int, Interval] = {}
    majority: dict[int, Interval] = {}
    for k in powers_of_two(samples):
        enough = [made for made in attempts.values() if len(made) >= k]
        if enough:
            any_right[k] = interval([pass_at(len(made), sum(one.right for one in made), k) for made in enough])
            majority[k] = interval([majority_at(made, k) for made in enough])
    return Passes(any_right=any_right, majority=majority)


def powers_of_two(most: int) -> list[int]:
    """1, 2, 4, ..., none above `most`."""
    return [1 << power for power in range(most.bit_length())]


def pass_at(attempts: int, right: int, k: int) -> float:
    """The unbiased estimate of pass@k: 1 - C(n - c, k) / C(n, k), for c right of n attempts (arXiv 2107.03374)."""
    return 1.0 - comb(attempts - right, k) / comb(attempts, k)


def majority_at(attempts: Sequence[Attempt], k: int) -> float:
    """The probability that the most frequent answer among k of the attempts is right, exactly.

    The k are drawn without replacement. Answers are the same if they differ only in case and white space, as in the
    workflow `majority`. Attempts without an answer have no vote; if none of the k has one, they are wrong. Of several
    answers that are given equally often, each is taken with the same probability.
    """
    groups: dict[str, list[bool]] = {}
    for answer, right in attempts:
        if answer is not None:
            groups.setdefault(" ".join(answer.split()).casefold(), []).append(right)
    sizes = [len(members) for members in groups.values()]
    abstained = len(attempts) - sum(sizes)
    return sum(
        wins(len(members), tuple(sorted(sizes[:place] + sizes[place + 1 :])), abstained, k) * fmean(members)
        for place, members in enumerate(groups.values())
        if any(members)
    )


@lru_cache(maxsize=4096)
def wins(mine: int, others: tuple[int, ...], abstained: int, k: int) -> float:
    """The probability that an answer given `mine` times leads among k of all attempts; a tie of m counts 1 / m.

    With B(n, x) the binomial probability of x in n at the rate k / (all attempts), which cancels out, it is the sum
    over my number of votes t of B(mine, t) * (the others draw k - t, none of them more than t) / B(all, k).
    """
    total = mine + sum(others) + abstained
    rate = k / total
    found = 0.0
    for votes in range(1, min(mine, k) + 1):
        ways = _at_most(votes, others, k - votes, rate)  # (tied with me, drawn)
        without = _binomial(abstained, rate)[: k - votes + 1]
        rest = ways[:, k - votes - np.arange(len(without))] @ without
        shares = 1.0 / (1.0 + np.arange(len(ways)))
        found += float(_binomial(mine, rate)[votes] * (shares @ rest))
    return found / float(_binomial(total, rate)[k])


def _at_most(votes: int, others: Sequence[int], most: int, rate: float) -> np.ndarray:
    """(m, d) -> the weight of drawing d <= `most` of the others, m of them `votes` times and none more often."""
    ways = np.zeros((most // votes + 1, most + 1))
    ways[0, 0] = 1.0
    for size in others:
        after = np.zeros_like(ways)
        for count, weight in enumerate(_binomial(size, rate)[: min(votes, most) + 1]):
            tied = int(count == votes)
            after[tied:, count:] += weight * ways[: len(ways) - tied, : most + 1 - count]
        ways = after
    return ways


@lru_cache(maxsize=1024)
def _binomial(size: int, rate: float) -> np.ndarray:
    """The binomial probabilities of 0, 1, ..., `size` successes in `size` draws at `rate`."""
    from scipy.stats import binom  # 60 MiB, which an evaluation without pass@k need not hold beside a model

    found: np.ndarray = binom.pmf(np.arange(size + 1), size, rate)
    return found
