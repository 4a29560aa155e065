"""The majority vote."""

from collections import Counter
from collections.abc import Sequence

from counterpoint.workflows.base import Reply


def most_frequent(replies: Sequence[Reply]) -> str | None:
    """The most frequent answer; answers that differ only in case and white space are the same.

    Of several equally frequent ones, the first in the order of `replies`; replies without an answer have no vote. None
    if no reply has an answer.
    """
    answers = [reply.answer for reply in replies if reply.answer is not None]
    votes = Counter(map(_normal, answers))
    return max(answers, key=lambda answer: votes[_normal(answer)], default=None)


def unanimous(replies: Sequence[Reply]) -> bool:
    """True if every reply has an answer and all answers are the same, except for case and white space."""
    answers = {None if reply.answer is None else _normal(reply.answer) for reply in replies}
    return len(answers) == 1 and None not in answers


def _normal(answer: str) -> str:
    return " ".join(answer.split()).casefold()
