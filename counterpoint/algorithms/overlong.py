"""What becomes of replies that are too long (DAPO, arXiv 2503.14476): kept, masked, or penalised."""

from collections.abc import Callable
from typing import Annotated, NamedTuple

from pydantic import Field

from counterpoint.episode import Call


class Overlong(NamedTuple):
    penalty: Callable[[Call], float]
    """What the length of a call takes off its reward."""
    masks: Callable[[Call], bool]
    """Whether a call is kept out of the loss, though not out of its group."""


def keep() -> Overlong:
    """They count like any other."""
    return Overlong(lambda call: 0.0, lambda call: False)


def mask() -> Overlong:
    """Replies that reached the limit before they ended are in their group, but not in the loss."""
    return Overlong(lambda call: 0.0, lambda call: call.finish == "length")


def soft(
    *, max_tokens: int, buffer: Annotated[int, Field(ge=1)], penalty: Annotated[float, Field(gt=0)] = 1.0
) -> Overlong:
    """Penalty * min(1, max(0, L - (max_tokens - buffer)) / buffer) is taken off the reward of a reply of L tokens.

    It grows from 0 to `penalty` over the last `buffer` tokens before the limit.
    """

    def taken_off(call: Call) -> float:
        return penalty * min(1.0, max(0, call.tokens - (max_tokens - buffer)) / buffer)

    return Overlong(taken_off, lambda call: False)
