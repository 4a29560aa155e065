"""Failure signatures: patterns in a run's recorded numbers, each with its evidence, its meaning and advice."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean, pvariance
from typing import NamedTuple

from counterpoint.analysis.history import History, Series

JUDGED = {"false_approval": "judged_wrong", "false_rejection": "judged_right"}
"""Rate of a role's verdicts -> the number of the answers that it is a fraction of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """The thresholds of all shipped signatures."""

    window: int = 20
    """Last training steps over which the current value of a number is averaged."""
    start: int = 5
    """First training steps over which the value of a number at the start is averaged."""
    least: int = 10
    """Training steps that a run must have before its numbers are judged."""
    dominance: float = 0.8
    alignment: float = 0.9
    decline: float = 0.05
    """Least fall of an accuracy that counts, as a fraction."""
    errors: float = 4.0
    """Least fall in its standard errors: the best of many windows is high by chance alone."""
    growth: float = 2.0
    """Least factor by which a length or a rate must grow."""
    growth_tokens: float = 8.0
    """Least growth in tokens."""
    code: float = 0.5
    """Fraction of a role's verdicts that hold a block of code, from which on it writes the solution itself."""
    code_rise: float = 0.2
    """Least rise of that fraction."""
    coherence: float = 0.8
    persistence: float = 0.5
    echo: float = 0.5
    echo_rise: float = 0.2
    false_approval: float = 0.5
    false_rejection: float = 0.5
    selection_gap: float = 0.1
    agreement: float = 0.9
    entropy: float = 0.02
    """Nats per token, below which entropy has collapsed."""
    entropy_part: float = 0.1
    """Fraction of the entropy at the start, below which it has collapsed."""
    certain: float = 0.5
    """Fraction of the entropy at the base, up to which a role is certain."""
    as_certain: float = 1.25
    """Fraction of the entropy at its peak, up to which a role is as certain as it was then."""
    random: float = 1.5
    """Fraction of the entropy both at the base and at its peak, from which on a role has grown random."""
    solved: float = 0.95
    """Accuracy above which little is left to learn: low entropy and few groups with a signal are then no failure."""
    idle: float = 0.01
    """Fraction of episodes in which later roles change whether the team is right, below which they are lazy."""
    missed: float = 0.02
    """Least fraction of episodes in which some answer was right and the team was not: what they could have changed."""
    without_signal: float = 0.9
    groups: int = 8
    """Groups without any signal after which a run of less than `least` steps has no signal."""
    unreadable: float = 0.5
    """Fraction of a role's replies."""
    cut_off: float = 0.25
    """Fraction of a role's replies."""
    calls: int = 8
    """Least calls of a role, or answers that it judged, from which a number of the role is judged."""
    failed: float = 0.01
    """Fraction of the episodes, for failures that a workflow cannot always avoid: too long, too slow, out of reach."""
    unjudged: float = 0.05
    """Fraction of the episodes."""
    episodes: int = 16
    """Least number of episodes for a statement about all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A signature that a run shows."""

    signature: str
    where: str
    """The team, a policy, or a role."""
    steps: tuple[int, int]
    """The first and the last training step in which it shows; 0 is the evaluation before the first."""
    evidence: tuple[str, ...]
    """Metrics with their values and thresholds, one per entry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """A failure signature: a member of the family, or made by one from its options."""

    name: str
    find: Callable[[History, Thresholds], list[Finding]]
    """One finding per policy or role that shows it; empty if none does, or if too little was recorded to tell."""
    meaning: str
    """The failure, in one or two sentences."""
    advice: str
    """Possible remedies, in one or two sentences."""
    lacks: Callable[[History, Thresholds], str | None] = lambda history, limits: None
    """The part that is missing in a history for this signature to be looked for, as "10 training steps"; or None."""


def lacks_steps(history: History, limits: Thresholds) -> str | None:
    """`least` training steps, if the run is shorter."""
    return f"{limits.least} training steps" if history.last < limits.least else None


def lacks_window(history: History, limits: Thresholds) -> str | None:
    """`window` training steps, if the run is shorter."""
    return f"{limits.window} training steps" if history.last < limits.window else None


def lacks_evaluations(count: int) -> Callable[[History, Thresholds], str | None]:
    """That many evaluations, if there are fewer."""

    def lacks(history: History, limits: Thresholds) -> str | None:
        there = {row["step"] for row in history.evaluations}
        return f"{count} evaluations" if len(there) < count else None

    return lacks


def now(history: History, name: str, limits: Thresholds) -> float | None:
    """The mean over the last `window` training steps; None if there are too few steps, or none has the number.

    A number of a role is None too if fewer than `calls` calls are behind it.
    """
    return _enough(history, name, limits, window(history, limits))


def at_the_start(history: History, name: str, limits: Thresholds) -> float | None:
    """The mean over the first `start` training steps; None as for `now`."""
    return _enough(history, name, limits, (1, limits.start))


def shown(history: History, limits: Thresholds, role: str, names: Mapping[str, str]) -> list[str]:
    """Further evidence about a role that no threshold applies to: its metric's values, and the words that `names` has.

    A metric that the run did not record, as an older one, is left out.
    """
    found = []
    for name, words in names.items():
        metric = f"role/{role}/{name}"
        before, after = at_the_start(history, metric, limits), now(history, metric, limits)
        if before is not None and after is not None:
            found.append(f"{metric} went from {before:.3g} to {after:.3g} ({words})")
    return found


def window(history: History, limits: Thresholds) -> tuple[int, int]:
    """The first and the last step of the window that `now` averages; it never overlaps with the start."""
    return max(history.last - limits.window, limits.start) + 1, history.last


class Fall(NamedTuple):
    """The fall of a series from its best window to its last."""

    amount: float
    """The highest mean of a window minus the mean of the last window."""
    error: float
    """Its standard error, from the spread within the two windows."""

    def counts(self, limits: Thresholds) -> bool:
        """True if the fall is at least `decline`, and at least `errors` of its standard errors."""
        return self.amount >= max(limits.decline, limits.errors * self.error)


def fall_from_the_best(series: Series, width: int) -> Fall:
    """The fall of a series over windows of `width` values; 0 if it has fewer values."""
    windows = [series.values[end - width : end] for end in range(width, len(series.values) + 1)]
    if not windows:
        return Fall(0.0, 0.0)
    best, last = max(windows, key=fmean), windows[-1]
    return Fall(fmean(best) - fmean(last), ((pvariance(best) + pvariance(last)) / width) ** 0.5)


def _enough(history: History, name: str, limits: Thresholds, span: tuple[int, int]) -> float | None:
    behind = _behind(history, name, span)
    if history.last < limits.least or (behind is not None and behind < limits.calls):
        return None
    return history.series(name).between(*span).mean()


def _behind(history: History, name: str, span: tuple[int, int]) -> float | None:
    """The calls of its role, or the answers that it judged, behind a number in these steps.

    None for a number that is no role's, and where they were not recorded.
    """
    role, _, what = name.rpartition("/")
    if not role.startswith("role/"):
        return None
    judged = history.series(f"{role}/{JUDGED[what]}").between(*span).values if what in JUDGED else ()
    if judged:
        return sum(judged)
    calls = history.series(f"{role}/calls").between(*span)
    played = dict(zip(*history.series("episode/played"), strict=True))
    if not calls.values or not all(step in played for step in calls.steps):
        return None
    return sum(count * played[step] for step, count in zip(*calls, strict=True))
