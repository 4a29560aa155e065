"""The number of calls that can be generated at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from counterpoint.samplers.base import MAX_CACHE_TOKENS, MAX_ROWS, Request

_CACHES = 1 / 4
"""The part of a GPU's memory that keys and values may take unless the recipe says otherwise."""
_LOGITS = 1 / 16
"""The part of it that logits may take, of which three copies are in memory at once."""


@dataclass(frozen=True, slots=True)
class Room:
    """The limits within which calls are generated together."""

    rows: int
    """Calls."""
    tokens: int
    """Tokens of prompts and replies, each distinct prompt once.

    Every reply counts as many as the longest that is asked for: their caches are one rectangle.
    """

    def __str__(self) -> str:
        return f"at most {self.rows:,} calls and {self.tokens:,} tokens at once"

    def fits(self, waiting: Sequence[Request], beside: Sequence[Request], width: int) -> int:
        """The number of first waiting calls that fit beside those; a call that has nothing beside it always does.

        No reply that is asked for, now or later, has more than `width` tokens.
        """
        prompts = {(one.policy, one.prompt_ids) for one in beside}
        held = sum(len(ids) for _, ids in prompts)
        for count, request in enumerate(waiting):
            prompt = (request.policy, request.prompt_ids)
            held += 0 if prompt in prompts else len(request.prompt_ids)
            prompts.add(prompt)
            rows = len(beside) + count + 1
            if rows > 1 and (rows > self.rows or held + rows * width > self.tokens):
                return count
        return len(waiting)


def room_of(
    max_rows: int | None, max_cache_tokens: int | None, *, device: torch.device | str, cached: int, logit: int
) -> Room:
    """The limits of the recipe; what it leaves open follows from the memory that a GPU has in all.

    A token takes `cached` bytes of keys and values, 0 if that is unknown, and a call `logit` bytes of logits. What is
    free at the moment does not count, so that a run that is resumed has the limits that it began with.
    """
    memory = total_memory(device)
    rows, tokens = MAX_ROWS, MAX_CACHE_TOKENS
    if memory is not None and cached:
        rows, tokens = _rounded(_LOGITS * memory / (3 * logit)), _rounded(_CACHES * memory / cached)
    return Room(max_rows or rows, max_cache_tokens or tokens)


def total_memory(device: torch.device | str) -> int | None:
    """Bytes of memory of a GPU, used or not; None for another device, or if it is not in this machine."""
    place = torch.device(device)
    if place.type != "cuda" or not torch.cuda.is_available():
        return None
    return int(torch.cuda.get_device_properties(place).total_memory)


def _rounded(number: float) -> int:
    """The power of two below, so that GPUs of one kind agree."""
    return 1 << max(1, int(number)).bit_length() - 1
