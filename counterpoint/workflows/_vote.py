"""The answer that most replies give."""

from collections import Counter
from collections.abc import Sequence

from counterpoint.workflows.base import Reply


def most_frequent(replies: Sequence[Reply]) -> str | None:
    """The answer given most often, answers being the same if they are up to case and white space.

    Of several given equally often, the one that was given first in the order of `replies`; replies without an answer
    have no vote. None if no reply has one.
    """
    answers = [reply.answer for reply in replies if reply.answer is not None]
    votes = Counter(map(_normal, answers))
    return max(answers, key=lambda answer: votes[_normal(answer)], default=None)


def _normal(answer: str) -> str:
    return " ".join(answer.split()).casefold()
