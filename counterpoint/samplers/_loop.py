"""The loop in which calls are generated, one token per step.

Calls that wait begin as soon as enough others have ended. Which begins when follows from the requests and from the
generated tokens, never from time, so that equal runs are equal.

Shapes: A active calls, that have not been dropped yet.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from counterpoint.forwards.base import Decoding, Flowing
from counterpoint.samplers._room import Room
from counterpoint.samplers._seats import Said, Seats
from counterpoint.samplers.base import Request

_KEEP_BELOW = 0.75
"""Rows that have ended are dropped once less than this fraction of the rows goes on, and others begin then.

Until then they are computed on: dropping rows copies the caches of those that stay.
"""
_LOOK_ON_A_GPU = 4
"""On a GPU the loop looks after so many steps which rows have ended: looking waits for all that was started there."""


class Source(Protocol):
    """Where calls come from; they are told by their indices among the requests."""

    def start(self, calls: Sequence[int]) -> Decoding:
        """A decoding of these calls."""
        ...

    def admit(self, decoding: Flowing, calls: Sequence[int]) -> None:
        """These calls join the decoding, as its last rows."""
        ...


def spoken(source: Source, requests: Sequence[Request], stops_S: Tensor, room: Room) -> list[Said]:
    """One completion per request, in their order. They begin in this order, as many as there is room for."""
    said: dict[int, Said] = {}
    waiting = list(range(len(requests)))
    while waiting:
        said |= _until_none_goes_on(source, requests, waiting, stops_S, room)
    return [said[call] for call in range(len(requests))]


def _until_none_goes_on(
    source: Source, requests: Sequence[Request], waiting: list[int], stops_S: Tensor, room: Room
) -> dict[int, Said]:
    """Generates the first calls that wait, and those that find room while others go on; they wait no longer."""
    width = max(request.max_tokens for request in requests)

    def next_calls(beside: Sequence[int]) -> list[int]:
        count = room.fits([requests[call] for call in waiting], [requests[call] for call in beside], width)
        found = waiting[:count]
        del waiting[:count]
        return found

    said: dict[int, Said] = {}
    seats = Seats.of(next_calls([]), requests, width, stops_S)
    decoding = source.start(seats.calls)
    while True:
        going = _steps(decoding, seats)
        said |= seats.ended()
        if not going:
            return said
        stay = seats.going_A.nonzero()[:, 0]
        decoding.keep(stay)
        seats = seats.taken(stay)
        if isinstance(decoding, Flowing) and (more := next_calls(seats.calls)):
            source.admit(decoding, more)
            seats = seats.beside(Seats.of(more, requests, width, stops_S))


def _steps(decoding: Decoding, seats: Seats) -> int:
    """Steps until rows are worth dropping; returns how many go on."""
    left, going = seats.most_left(), len(seats.calls)
    look = _steps_unseen(seats.last_A.device)
    while left and going >= _KEEP_BELOW * len(seats.calls):
        for _ in range(min(look, left)):
            if isinstance(decoding, Flowing):
                decoding.advance(seats.last_A, seats.say)
            else:
                seats.say(decoding.logits(seats.last_A))
        left -= min(look, left)
        going = int(seats.going_A.sum())
    return going


def _steps_unseen(device: torch.device) -> int:
    """Steps after which the loop looks which rows have ended."""
    return _LOOK_ON_A_GPU if device.type == "cuda" else 1
