"""When runs fell: the share that has not, step by step, and two arms compared."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from warnings import catch_warnings, simplefilter

import numpy as np
from scipy import stats

from counterpoint.analysis.falls import Fell
from counterpoint.analysis.intervals import CONFIDENCE


class Duration(NamedTuple):
    """The steps that a run was seen without a fall."""

    step: int
    """The onset of the fall, or the last step if it held."""
    fell: bool


def duration(fell: Fell | None, onset: int | None, last: int) -> Duration | None:
    """The duration of a run with this fate, onset and last step; None if it cannot be told, or it did not finish.

    Raises ValueError if it fell without an onset.
    """
    if fell == "fell":
        if onset is None:
            raise ValueError("a run that fell has an onset")
        return Duration(onset, True)
    return Duration(last, False) if fell == "held" else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Survival:
    """The share of runs that have not fallen, at every step at which a run fell or was seen last."""

    steps: tuple[int, ...]
    surviving: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    at_risk: tuple[int, ...]
    """The runs that were still seen, and had not fallen, right before the step."""
    falls: int
    runs: int

    @property
    def median(self) -> int | None:
        """The first step at which at least half of the runs have fallen; None if it is never reached."""
        return next((step for step, left in zip(self.steps, self.surviving, strict=True) if left <= 0.5), None)


def kaplan_meier(durations: Sequence[Duration]) -> Survival:
    """The estimate of Kaplan and Meier (1958), with log-log intervals of 95 %; runs that held are censored.

    Where nothing or everything has fallen these intervals are undefined: at 1, the lower end is the exact one of no
    fall among the runs at risk, 0.025^(1/n); at 0, the upper end is that of the step before, or 1.
    """
    if not durations:
        return Survival(steps=(), surviving=(), low=(), high=(), at_risk=(), falls=0, runs=0)
    found = stats.ecdf(_censored(durations)).sf
    steps = tuple(int(step) for step in found.quantiles)
    surviving = tuple(float(value) for value in found.probabilities)
    at_risk = tuple(sum(one.step >= step for one in durations) for step in steps)
    with catch_warnings():
        simplefilter("ignore", RuntimeWarning)  # of the undefined ends, which are replaced below
        ends: Any = found.confidence_interval(CONFIDENCE, method="log-log")
    low, high = [float(value) for value in ends.low.probabilities], [float(value) for value in ends.high.probabilities]
    for place, value in enumerate(surviving):
        if value == 1.0:
            low[place], high[place] = ((1.0 - CONFIDENCE) / 2) ** (1 / at_risk[place]), 1.0
        elif value == 0.0:
            low[place], high[place] = 0.0, high[place - 1] if place else 1.0
    return Survival(
        steps=steps,
        surviving=surviving,
        low=tuple(low),
        high=tuple(high),
        at_risk=at_risk,
        falls=sum(one.fell for one in durations),
        runs=len(durations),
    )


class LogRank(NamedTuple):
    """Two arms compared by when their runs fell."""

    statistic: float
    """Standard normal under the hypothesis; positive if the first arm has more falls than expected."""
    p_value: float
    """Two-sided."""


def logrank(one: Sequence[Duration], other: Sequence[Duration]) -> LogRank:
    """The log-rank test (Mantel 1966). Where nothing can be compared (no fall, or an empty arm), p is 1."""
    if not one or not other or not any(found.fell for found in (*one, *other)):
        return LogRank(0.0, 1.0)
    with catch_warnings():
        simplefilter("ignore", RuntimeWarning)  # of 0 / 0, where each fall came when only one arm was still seen
        found = stats.logrank(_censored(one), _censored(other))
    if not np.isfinite(found.statistic):
        return LogRank(0.0, 1.0)
    return LogRank(float(found.statistic), float(found.pvalue))


def _censored(durations: Sequence[Duration]) -> stats.CensoredData:
    return stats.CensoredData(
        uncensored=[one.step for one in durations if one.fell],
        right=[one.step for one in durations if not one.fell],
    )
