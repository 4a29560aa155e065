"""The interface of forward implementations: they run a frozen causal model over calls that share prompts or prefixes.

Shapes: C calls, A active calls (still generating), T tokens of the longest completion, V vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from counterpoint.episode import Call


class Scored(NamedTuple):
    """Log-probabilities (float32) of the completion tokens, padded on the right."""

    logprobs_CT: Tensor
    """0 where there is padding."""
    mask_CT: Tensor
    """1 where there is a token, 0 where there is padding; float."""


@dataclass(frozen=True, slots=True)
class Owners:
    """Whose the prompts are, for a model that computes each row of its inputs with the weights of its policy."""

    of_prompts: Sequence[int]
    """The number of the policy that each prompt belongs to."""
    tell: Callable[[np.ndarray], None]
    """Takes the policy of every row of the inputs. They count until it is called again."""

    def of(self, prompts: Sequence[int]) -> "Owners":
        """Those of these prompts."""
        return replace(self, of_prompts=[self.of_prompts[prompt] for prompt in prompts])


class Decoding(Protocol):
    """A batch of calls being generated, one token per step."""

    def logits(self, last_A: Tensor) -> Tensor:
        """Float32 logits (A, V) of the next token; `last_A` is the last token of each active call."""
        ...

    def keep(self, rows: Tensor) -> None:
        """Keep only the calls with these indices among the active calls."""
        ...


@runtime_checkable
class Flowing(Decoding, Protocol):
    """A decoding that calls can join while others go on. On a GPU its steps are recorded and replayed."""

    def admit(self, rows: Sequence[int]) -> None:
        """Begin calls from these of the prompts that it was started with. They follow the calls that there are."""
        ...

    def advance(self, last_A: Tensor, then: Callable[[Tensor], None]) -> None:
        """`then(logits(last_A))`, in one recorded step.

        `then` must do all that it does on tensors of the device, and `last_A` and what `then` writes into must be the
        same tensors for as long as the calls are the same.
        """
        ...


class Forward(Protocol):
    """A forward implementation; `model` is always the model that it was chosen for."""

    name: str
    takes_owners: bool
    """True if `start` can begin calls of several policies together."""

    def score(self, model: Any, calls: Sequence[Call]) -> Scored:
        """Log-probability of every completion token at its call's temperature; gradients flow where enabled."""
        ...

    def fits(self, ordered: Sequence[Call], max_tokens: int) -> int:
        """The number of first calls that together feed the model at most `max_tokens` tokens; at least 1."""
        ...

    def start(
        self,
        model: Any,
        prompts: Sequence[Sequence[int]],
        rows: Sequence[int],
        most: int,
        owners: Owners | None = None,
    ) -> Decoding:
        """Begin to generate at most `most` tokens for each call c, from the prompt `prompts[rows[c]]`.

        The prompts are computed up to their last token, which is the first input of `Decoding.logits`. Every prompt
        must have at least two tokens; each distinct one is computed once, and none that no call has. With `owners`,
        where it takes them, prompts of different policies share nothing, and `owners` is told whose rows the model is
        given, now and in every step.
        """
        ...


def asked(prompts: Sequence[Sequence[int]], rows: Sequence[int]) -> tuple[list[Sequence[int]], list[int]]:
    """The prompts that some row has, and for each row its index among them."""
    places = {prompt: place for place, prompt in enumerate(dict.fromkeys(rows))}
    return [prompts[prompt] for prompt in places], [places[row] for row in rows]


def padded_rows_within(ordered: Sequence[Call], max_tokens: int) -> int:
    """The number of first calls that fit into `max_tokens` tokens when each is a row as wide as the longest."""
    widest = 0
    for count, call in enumerate(ordered):
        widest = max(widest, len(call.prompt_ids) + len(call.completion_ids))
        if count and widest * (count + 1) > max_tokens:
            return count
    return len(ordered)


def pad(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids padded on the right with 0, and a mask that is 1 at ids and 0 at padding; both (rows, longest), integers."""
    width = max(len(row) for row in rows)
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=device)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)
    return ids, mask
