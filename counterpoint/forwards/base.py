"""A way to run a frozen causal model over calls that have prompts, or beginnings of prompts, in common.

Shapes: C calls, A calls still going, T completion tokens of the longest, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from counterpoint.episode import Call


class Scored(NamedTuple):
    """Log-probabilities (float32) of the completion tokens, padded on the right."""

    logprobs_CT: Tensor
    """0 where there is padding."""
    mask_CT: Tensor
    """1 where there is a token, 0 where there is padding; float."""


class Decoding(Protocol):
    """Calls under way, a token at a time."""

    def logits(self, last_A: Tensor) -> Tensor:
        """Float32 logits (A, V) of the token after `last_A`, which each call that still goes has said last."""
        ...

    def keep(self, rows: Tensor) -> None:
        """Only the calls at these places among those that still went go on."""
        ...


class Forward(Protocol):
    """One way; `model` is always the one it was chosen for."""

    name: str

    def score(self, model: Any, calls: Sequence[Call]) -> Scored:
        """Log-probability of every completion token at its call's temperature; gradients flow where enabled."""
        ...

    def fits(self, ordered: Sequence[Call], max_tokens: int) -> int:
        """How many of the first calls put at most `max_tokens` tokens into the model together; 1 or more."""
        ...

    def start(self, model: Any, prompts: Sequence[Sequence[int]], rows: Sequence[int], most: int) -> Decoding:
        """Call c goes on from `prompts[rows[c]]`, whose last token is the first to be fed, for `most` tokens at most.

        Every prompt must have at least two tokens; each distinct one is computed once.
        """
        ...


def pad(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids padded on the right with 0, and a mask that is 1 where an id stands; both (rows, longest), integers."""
    width = max(len(row) for row in rows)
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=device)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)
    return ids, mask
