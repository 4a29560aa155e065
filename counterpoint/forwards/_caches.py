"""The keys and values that decoding keeps: of prompts and of replies.

Shapes: A active calls, P distinct prompts, L prompt tokens, S places of the reply cache, k key heads, D values of one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from counterpoint.forwards._attention import Layout, layout_of
from counterpoint.forwards._forest import Forest, forest_of
from counterpoint.forwards._hidden import of_forest
from counterpoint.forwards.base import Owners


@dataclass(frozen=True, slots=True)
class PromptCache:
    """The prompt cache of one layer, padded on the right: keys and values, each (k, P, L, D)."""

    keys: Tensor
    values: Tensor

    @property
    def width(self) -> int:
        return self.keys.shape[2]

    def taken(self, prompts: Tensor, tokens: int) -> "PromptCache":
        """The first `tokens` tokens of some prompts."""
        return PromptCache(*(one[:, :, :tokens].index_select(1, prompts) for one in (self.keys, self.values)))

    def beside(self, other: "PromptCache") -> "PromptCache":
        """These prompts, then the others."""
        width = max(self.width, other.width)
        both = ((self.keys, other.keys), (self.values, other.values))
        return PromptCache(
            *(torch.cat([pad(one, (0, 0, 0, width - one.shape[2])) for one in pair], 1) for pair in both)
        )


@dataclass(frozen=True, slots=True)
class ReplyCache:
    """The reply cache of one layer: keys and values, each (k, A, S, D). Unwritten places are 0.

    They are attended to with weight 0, and 0 times an uninitialised NaN would be NaN.
    """

    keys: Tensor
    values: Tensor

    @classmethod
    def empty(cls, like: PromptCache, rows: int, capacity: int) -> "ReplyCache":
        # The values of some models (multi-head latent attention) are not as wide as their keys.
        return cls(*(one.new_zeros(len(one), rows, capacity, one.shape[3]) for one in (like.keys, like.values)))

    @property
    def capacity(self) -> int:
        return self.keys.shape[2]

    def taken(self, rows: Tensor) -> "ReplyCache":
        return ReplyCache(self.keys.index_select(1, rows), self.values.index_select(1, rows))

    def first(self, places: Tensor, newcomers: int, capacity: int) -> "ReplyCache":
        """These places come first, in this order; then empty ones, up to `capacity`, and as many rows more."""
        rows = self.keys.shape[1]
        moved = []
        for one in (self.keys, self.values):
            new = one.new_zeros(len(one), rows + newcomers, capacity, one.shape[3])
            new[:, :rows, : len(places)] = one.index_select(2, places)
            moved.append(new)
        return ReplyCache(*moved)


class _Recording:
    """A layout that also stores the keys and values of every layer, as one row per prompt, padded on the right."""

    def __init__(self, layout: Layout, places_PL: Tensor) -> None:
        self._layout = layout
        self._places_PL = places_PL
        self.caches: dict[int, PromptCache] = {}

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        rows = (one[self._places_PL].permute(2, 0, 1, 3).contiguous() for one in (key, value))
        self.caches[layer] = PromptCache(*rows)
        return self._layout.attend(layer, query, key, value, scale)


def prefill(
    model: Any, prompts: Sequence[Sequence[int]], aligned: int, owners: Owners | None = None
) -> dict[int, PromptCache]:
    """Layer -> cache of the prompts without their last token, whose width is a multiple of `aligned`.

    Prefixes that prompts share are computed once.
    """
    inputs = [prompt[:-1] for prompt in prompts]
    forest = _forest_apart(inputs, owners) if owners else forest_of(inputs)
    width = multiple(max(len(places) for places in forest.paths), aligned)
    padded = np.stack([np.pad(places, (0, width - len(places))) for places in forest.paths])
    layout = _Recording(layout_of(forest, model), torch.from_numpy(padded).to(model.device))
    of_forest(model, forest, layout)
    return layout.caches


def _forest_apart(inputs: Sequence[Sequence[int]], owners: Owners) -> Forest:
    """The forest in which inputs of different policies share nothing; `owners` is told whose its tokens are."""
    words = 1 + max(map(max, inputs))
    marked = [[one + owner * words for one in row] for row, owner in zip(inputs, owners.of_prompts, strict=True)]
    forest = forest_of(marked)
    owners.tell(forest.ids // words)
    return replace(forest, ids=forest.ids % words)


def multiple(tokens: int, aligned: int) -> int:
    """The smallest multiple of `aligned` that is at least `tokens`."""
    return -(-tokens // aligned) * aligned


def token_bytes(model: Any) -> int:
    """Bytes of the keys and values of one token in all layers; the model is set up for packed attention."""
    caches = prefill(model, [(1, 2)], 1).values()
    return sum(one.numel() * one.element_size() for cache in caches for one in (cache.keys, cache.values))
