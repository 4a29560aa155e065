"""Rows that cannot be used: where each is, and why."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

_MOST_REASONS = 5
_LONGEST = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A row that cannot be used."""

    place: str
    reason: str
    kind: str = ""
    """The reason without what belongs to this row alone; empty if nothing in it does."""


def complaint(refused: Sequence[Refused], rows: int) -> str:
    """One line: the first row that cannot be used and why, and how many of the `rows` there are."""
    first = refused[0]
    alike = Counter(one.kind or one.reason for one in refused)
    reasons = "; ".join(f"{count} x {reason}" for reason, count in alike.most_common(_MOST_REASONS))
    others = f" ({reasons})" if len(refused) > 1 else ""
    return (
        f"{first.place} cannot be used: {first.reason}. Of {rows} rows this holds for {len(refused)}{others}; "
        "task.invalid = 'skip' leaves them out"
    )


def quoted(text: str) -> str:
    """A question or an answer in a message: one line, in quotation marks, cut where it is long."""
    flat = " ".join(text.split())
    return repr(flat if len(flat) <= _LONGEST else f"{flat[:_LONGEST]}...")


def repeated(text: str, key: str, other: str, other_key: str, place: str) -> str:
    """The reason why a question is refused that is at another place too, perhaps written or answered differently."""
    written = "" if text == other else f", as {quoted(other)}"
    answered = "" if key == other_key else f", with another answer: {quoted(other_key)}, not {quoted(key)}"
    return f"its question {quoted(text)} is also in {place}{written}{answered}"
