"""What a failure signature is: a pattern in what a run recorded, with its evidence, its meaning, and what to try."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean, pvariance
from typing import NamedTuple

from counterpoint.analysis.history import History, Series


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """From where on something counts: every one of them, with its default."""

    window: int = 20
    """Training steps that "now" is a mean over."""
    start: int = 5
    """Training steps that "at the start" is a mean over."""
    least: int = 10
    """Training steps before anything is said about them."""
    dominance: float = 0.8
    alignment: float = 0.9
    decline: float = 0.05
    """Fall of an accuracy, in parts of one, that counts."""
    errors: float = 4.0
    """And by how many of its standard errors, at least: the best of many windows is high by chance alone."""
    growth: float = 2.0
    """Factor by which a length or a rate has grown when it counts."""
    growth_tokens: float = 8.0
    """And by how many tokens, at least."""
    coherence: float = 0.8
    persistence: float = 0.5
    echo: float = 0.5
    echo_rise: float = 0.2
    false_approval: float = 0.5
    false_rejection: float = 0.5
    selection_gap: float = 0.1
    agreement: float = 0.9
    entropy: float = 0.02
    """Nats a token."""
    entropy_part: float = 0.1
    """Part of the entropy at the start."""
    solved: float = 0.95
    """Accuracy from which there is nothing left to learn: little entropy and little signal are then no failure."""
    idle: float = 0.01
    """Part of the episodes in which later roles changed what became of the first answer, below which they are idle."""
    missed: float = 0.02
    """And part of the episodes in which some answer was right and the team was not: what they could have changed."""
    without_signal: float = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A signature that was found, and where."""

    signature: str
    where: str
    """The team, a policy, or a role."""
    steps: tuple[int, int]
    """The training steps in which it shows, first and last."""
    evidence: tuple[str, ...]
    """Each a metric with its value, and what it was compared with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    name: str
    find: Callable[[History, Thresholds], list[Finding]]
    """Wherever it shows; an empty list if it does not, or if too little was recorded to tell."""
    meaning: str
    advice: str


def now(history: History, name: str, limits: Thresholds) -> float | None:
    """Mean over the last `window` training steps; None if there are too few, or none of them has it."""
    return _long_enough(history, limits, history.series(name).between(*window(history, limits)))


def at_the_start(history: History, name: str, limits: Thresholds) -> float | None:
    """Mean over the first `start` training steps."""
    return _long_enough(history, limits, history.series(name).between(1, limits.start))


def window(history: History, limits: Thresholds) -> tuple[int, int]:
    """The steps that "now" is made of, first and last; they never reach into the start."""
    return max(history.last - limits.window, limits.start) + 1, history.last


class Fall(NamedTuple):
    """How far the mean of the last values is below the highest mean of as many in a row."""

    amount: float
    error: float
    """Its standard error, from the spread within the two windows."""

    def counts(self, limits: Thresholds) -> bool:
        """Whether it is large, and larger than chance makes it."""
        return self.amount >= max(limits.decline, limits.errors * self.error)


def fall_from_the_best(series: Series, width: int) -> Fall:
    """Of a series over windows of `width` values; no fall if it has fewer."""
    windows = [series.values[end - width : end] for end in range(width, len(series.values) + 1)]
    if not windows:
        return Fall(0.0, 0.0)
    best, last = max(windows, key=fmean), windows[-1]
    return Fall(fmean(best) - fmean(last), ((pvariance(best) + pvariance(last)) / width) ** 0.5)


def _long_enough(history: History, limits: Thresholds, part: Series) -> float | None:
    return part.mean() if history.last >= limits.least else None
