"""The calls of a pass split over the ranks of a process group, and what the ranks computed put together again.

Every rank is given all calls. It computes those that `Split.mine` names, and takes part in every collective, also
without a call of its own: after `summed` and `gathered` all ranks have the same, bit for bit.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from counterpoint.episode import Call
from counterpoint.errors import LearnerError
from counterpoint.forwards._forest import new_tokens

T = TypeVar("T")
_PIECE = 2**16
"""The number of values whose bits are widened to 64 at once: few enough for a processor's cache."""
_GPU_PIECE = 2**24
"""The same on a GPU, where many small operations take longer."""


class ApartError(LearnerError):
    """A rank failed, or is gone, or is not in the state that the others are in: none of them can continue."""


class Split(Protocol):
    """One rank's view of a group of ranks. All ranks must call the same methods in the same order."""

    @property
    def rank(self) -> int:
        """Counted from 0."""
        ...

    @property
    def count(self) -> int:
        """The number of ranks."""
        ...

    def mine(self, calls: Sequence[Call]) -> list[int]:
        """The indices of this rank's calls; every call belongs to one rank. No collective."""
        ...

    def summed(self, flat: Tensor) -> Tensor:
        """The sum over the ranks. `flat` is overwritten."""
        ...

    def gathered(self, part: T) -> list[T]:
        """The part of every rank, in the order of the ranks."""
        ...

    def agreed(self, what: bytes) -> None:
        """Raises ApartError on every rank if `what` is not the same bytes on all of them."""
        ...


class Whole:
    """All calls on one rank."""

    rank = 0
    count = 1

    def mine(self, calls: Sequence[Call]) -> list[int]:
        return list(range(len(calls)))

    def summed(self, flat: Tensor) -> Tensor:
        return flat

    def gathered(self, part: T) -> list[T]:
        return [part]

    def agreed(self, what: bytes) -> None:
        return


class Ranks:
    """The ranks of a group of torch.distributed, the default one if no other is given."""

    def __init__(self, group: Any = None) -> None:
        """The group must exist. Its collectives raise ApartError when its timeout has passed, or a rank is gone."""
        self._group = group
        self.rank = dist.get_rank(group)
        self.count = dist.get_world_size(group)

    def mine(self, calls: Sequence[Call]) -> list[int]:
        return shares(calls, self.count)[self.rank]

    def summed(self, flat: Tensor) -> Tensor:
        _together(lambda: dist.all_reduce(flat, group=self._group))
        return flat

    def gathered(self, part: T) -> list[T]:
        found: list[Any] = [None] * self.count
        _together(lambda: dist.all_gather_object(found, part, group=self._group))
        return found

    def agreed(self, what: bytes) -> None:
        found = self.gathered(hashlib.sha256(what).digest())
        others = [rank for rank, one in enumerate(found) if one != found[0]]
        if others:
            raise ApartError(
                f"the ranks of the learner are not in the same state: rank {others[0]} differs from rank 0"
            )


def shares(calls: Sequence[Call], count: int) -> list[list[int]]:
    """The indices of `calls` in `count` parts of about as many tokens; a part may be empty.

    Calls that begin alike are computed together, so the parts are cut out of the order in which they are neighbours. A
    prefix that a call shares with the one before it is computed once and counts once.
    """
    rows = [(*call.prompt_ids, *call.completion_ids) for call in calls]
    order = sorted(range(len(rows)), key=rows.__getitem__)
    sizes = list(new_tokens(rows[index] for index in order))
    found: list[list[int]] = [[] for _ in range(count)]
    twice, before = 2 * sum(sizes), 0
    for index, size in zip(order, sizes, strict=True):
        # Whose part the middle of the call is in. Whole numbers, so that all ranks cut alike.
        found[min((2 * before + size) * count // twice, count - 1)].append(index)
        before += size
    return found


def fingerprint(tensors: Sequence[Tensor]) -> int:
    """A number of 64 bits over the bits of float32 tensors: other bits give another one, with chances of about 2^-64.

    It is sum_i (2 i + 1) b_i modulo 2^64, b_i the bits of value i as an integer; a difference in one value always
    shows. Unlike for SHA-256 the values need not be brought from a GPU to the host.
    """
    total, begin = 0, 0
    for tensor in tensors:
        bits = tensor.detach().contiguous().view(-1).view(torch.int32)
        size = _PIECE if bits.device.type == "cpu" else _GPU_PIECE
        odd, sums = torch.arange(1, 2 * min(size, len(bits)) + 1, 2, device=bits.device), []
        for piece in torch.split(bits, size):
            wide = piece.long()
            before = 2 * begin * wide.sum()
            sums.append(before + wide.mul_(odd[: len(wide)]).sum())
            begin += len(piece)
        total += int(torch.stack(sums).sum())
    return total % 2**64


def _together(collective: Callable[[], Any]) -> None:
    try:
        collective()
    except RuntimeError as error:  # a rank that is gone, or the timeout
        raise ApartError(f"a rank of the learner did not take part in a collective: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
