"""Treatment of replies that are too long (DAPO, arXiv 2503.14476): kept, masked, or penalized."""

from collections.abc import Callable
from typing import Annotated, NamedTuple

from pydantic import Field

from counterpoint.episode import Call


class Overlong(NamedTuple):
    penalty: Callable[[Call], float]
    """Subtracted from the reward of a call for its length."""
    masks: Callable[[Call], bool]
    """True for a call that is left out of the loss, though not out of its group."""


def keep() -> Overlong:
    """Long replies count like any other."""
    return Overlong(lambda call: 0.0, lambda call: False)


def mask() -> Overlong:
    """Replies that reached the limit before they ended stay in their group and are left out of the loss."""
    return Overlong(lambda call: 0.0, lambda call: call.finish == "length")


def soft(
    *, max_tokens: int, buffer: Annotated[int, Field(ge=1)], penalty: Annotated[float, Field(gt=0)] = 1.0
) -> Overlong:
    """Subtracts penalty * min(1, max(0, L - (max_tokens - buffer)) / buffer) from the reward of a reply of L tokens.

    It grows from 0 to `penalty` over the last `buffer` tokens before the limit.
    """

    def subtracted(call: Call) -> float:
        return penalty * min(1.0, max(0, call.tokens - (max_tokens - buffer)) / buffer)

    return Overlong(subtracted, lambda call: False)
