"""Answers in sentences, each with a verdict, and the parts of a page that they make."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from counterpoint.analysis.comparison import in_points
from counterpoint.analysis.contrast import CONFIDENCE, Estimate, at_confidence, strictest
from counterpoint.analysis.outliers import points

Verdict = Literal["yes", "no", "cannot tell", "not run yet"]
OPEN: tuple[Verdict, ...] = ("cannot tell", "not run yet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A sentence without a full stop."""

    text: str
    verdict: Verdict | None = None
    """The answer to the question of its part; None for a fact that answers none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """A table of the page."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    about: str
    """The meaning of its numbers and intervals, in a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A question, its answers, the most important first, and what shows them."""

    title: str
    statements: Sequence[Statement]
    tables: Sequence[Rows] = ()
    figures: Sequence[str] = ()
    """Names of figures of the study; those that it does not have are not shown."""

    @property
    def answer(self) -> Statement | None:
        """The first of its statements that has a verdict."""
        return next((one for one in self.statements if one.verdict is not None), None)


def not_run(text: str) -> Statement:
    """A statement that names what is missing."""
    return Statement(verdict="not run yet", text=text)


def is_higher(found: Estimate, p_value: float, margin: float, comparisons: int) -> Verdict:
    """Yes or no if the difference is not 0 after the correction that `p_value` has; no also within the margin.

    It is within the margin if the interval of the strictest of so many comparisons is, and its own holds 0. Everything
    else cannot be told.
    """
    if p_value <= 1 - CONFIDENCE:
        return "yes" if found.value > 0 else "no"
    wide = at_confidence(found, strictest(comparisons))
    is_alike = -margin <= wide.low and wide.high <= margin and found.low <= 0 <= found.high
    return "no" if is_alike else "cannot tell"


def why(verdict: Verdict, value: float, p_value: float, margin: float) -> str:
    """The end of a sentence about a difference: that it is within the margin, or small; empty if neither."""
    if verdict == "no" and p_value > 1 - CONFIDENCE:
        return f", alike within {in_points(margin)}"
    small = verdict != "cannot tell" and abs(value) < margin
    return f", less than the margin of {in_points(margin)}" if small else ""


def with_interval(value: float, low: float, high: float) -> str:
    """`+4.1 points [0.6, 7.6]`."""
    return f"{100 * value:+z.1f} points [{points(low)}, {points(high)}]"


def p_of(value: float) -> str:
    """`p = 0.02`."""
    return f"p = {value:.2g}" if value >= 0.001 else "p < 0.001"


def listed(names: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
