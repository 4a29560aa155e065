"""Calls in micro-batches that fit into memory.

Shapes: C calls, T completion tokens.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from counterpoint.episode import Call
from counterpoint.forwards.base import Forward
from counterpoint.learners._split import ApartError, Split

T = TypeVar("T")
_LOG = logging.getLogger(__name__)


def micro_batches(calls: Sequence[Call], forward: Forward, max_tokens: int) -> list[list[int]]:
    """Indices of `calls`, every one once, in batches of at most `max_tokens` tokens in the model, or of one call.

    Calls that begin alike stand together, so that a batch computes few distinct beginnings.
    """
    order = sorted(range(len(calls)), key=lambda index: (*calls[index].prompt_ids, *calls[index].completion_ids))
    batches = []
    while order:
        count = forward.fits([calls[index] for index in order], max_tokens)
        batches.append(order[:count])
        order = order[count:]
    return batches


class Budget:
    """The number of tokens per micro-batch: at first the recipe's limit, reduced if memory runs out."""

    def __init__(self, forward: Forward, max_tokens: int, *, alike: Split | None = None) -> None:
        """With `alike` every rank computes as often as the one with the most micro-batches."""
        self._forward = forward
        self.max_tokens = max_tokens
        self._alike = alike

    def each(
        self, calls: Sequence[Call], compute: Callable[[list[int]], T], idle: Callable[[], object] | None = None
    ) -> Iterator[tuple[list[int], T]]:
        """Every micro-batch of `calls`, as indices, with what `compute` makes of it.

        Where memory runs out, that batch is computed in smaller ones, and so is everything after it; it is logged.
        Where ranks must compute alike, `idle` computes what counts for nothing, and memory that runs out is an error,
        since the others would wait. Raises LearnerError in that case, or if memory runs out with a single call.
        """
        waiting = micro_batches(calls, self._forward, self.max_tokens)
        more = max(self._alike.gathered(len(waiting))) - len(waiting) if self._alike else 0
        while waiting:
            batch, *waiting = waiting
            found = _tried(compute, batch)
            if found is None:
                waiting = self._smaller(calls, batch) + waiting
            else:
                yield batch, found
        for _ in range(more):
            assert idle is not None
            idle()

    def _smaller(self, calls: Sequence[Call], batch: list[int]) -> list[list[int]]:
        if len(batch) == 1:
            call = calls[batch[0]]
            raise ApartError(  # on this rank alone: the others had memory
                f"out of memory with one call of {len(call.prompt_ids)} + {len(call.completion_ids)} tokens: use a"
                " smaller model, learner.gradient_checkpointing = true, model.dtype = 'bfloat16', or shorter replies"
            )
        if self._alike:
            raise ApartError(
                f"out of memory with {len(batch)} calls at once, and a sharded base needs equal micro-batches on all"
                f" ranks: set learner.max_tokens_per_micro_batch below {self.max_tokens}"
            )
        members = [calls[index] for index in batch]
        before = self.max_tokens
        while len(parts := micro_batches(members, self._forward, self.max_tokens)) == 1:
            self.max_tokens = max(1, self.max_tokens // 2)
        _LOG.warning(
            "out of memory with %d calls at once: from here on learner.max_tokens_per_micro_batch is %d in place of %d",
            len(batch),
            self.max_tokens,
            before,
        )
        return [[batch[place] for place in part] for part in parts]


def _tried(compute: Callable[[list[int]], T], batch: list[int]) -> T | None:
    """None where memory ran out; what had been allocated is free again then."""
    try:
        return compute(batch)
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


def out_of_memory(error: RuntimeError) -> bool:
    """True if the error is a failed allocation, on a GPU or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator: can't allocate memory" in str(error)


def pad_values(rows: Sequence[Sequence[float]], like_CT: Tensor) -> Tensor:
    """Values a token, padded on the right with 0 to the shape of `like_CT`; a row may be empty."""
    width = like_CT.shape[1]
    padded = [[*row, *[0.0] * (width - len(row))] for row in rows]
    return torch.tensor(padded, dtype=like_CT.dtype, device=like_CT.device)
