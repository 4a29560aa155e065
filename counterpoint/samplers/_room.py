"""The number of calls that can be generated at once."""

from collections.abc import Sequence
from dataclasses import dataclass

from counterpoint.samplers.base import Request


@dataclass(frozen=True, slots=True)
class Room:
    """The limits within which calls are generated together."""

    rows: int
    """Calls."""
    tokens: int
    """Tokens of prompts and replies, each distinct prompt once.

    Every reply counts as many as the longest of those beside it may have: their caches are one rectangle.
    """

    def fits(self, waiting: Sequence[Request], beside: Sequence[Request] = ()) -> int:
        """The number of first waiting calls that fit beside those; a call that has nothing beside it always does."""
        prompts = {(one.policy, one.prompt_ids) for one in beside}
        held, widest = sum(len(ids) for _, ids in prompts), max((one.max_tokens for one in beside), default=0)
        for count, request in enumerate(waiting):
            prompt = (request.policy, request.prompt_ids)
            held += 0 if prompt in prompts else len(request.prompt_ids)
            prompts.add(prompt)
            widest, rows = max(widest, request.max_tokens), len(beside) + count + 1
            if rows > 1 and (rows > self.rows or held + rows * widest > self.tokens):
                return count
        return len(waiting)
