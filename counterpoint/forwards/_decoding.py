"""Decoding of calls that share prompts, one token per step.

A prompt's keys and values are stored once, however many calls continue it. The queries of all its calls are multiplied
with them in one matrix product, which reads the prompt's cache once per step in place of once per call.

Shapes: A active calls, P distinct prompts, G calls of the prompt that has most, L prompt tokens, S reply tokens (in the
cache its capacity, in the scores those attended to), X = L + S, Hk or k key heads, H = Hk x R query heads, D values per
head, E hidden values, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from counterpoint.forwards._attention import Layout, layout_of
from counterpoint.forwards._forest import Forest, forest_of
from counterpoint.forwards._hidden import hidden_states, of_forest
from counterpoint.forwards._replay import Replay
from counterpoint.forwards.base import Owners

_CAPACITY = 32
"""Initial capacity of the reply cache, in tokens per call; it doubles as needed, up to the longest reply allowed."""
_CAPACITY_ON_A_GPU = 128
_ALIGNED = 8
"""On a GPU cache lengths are multiples of this: its matrix products are slow at other sizes."""


class PackedDecoding:
    """Decoding in which each call attends to its shared prompt and to its own reply so far.

    On a GPU every step attends to the whole capacity of the reply cache, with unwritten places masked: its shapes stay
    the same from step to step, and it can be replayed as a CUDA graph.
    """

    def __init__(
        self,
        model: Any,
        prompts: Sequence[Sequence[int]],
        rows: Sequence[int],
        most: int,
        owners: Owners | None = None,
    ) -> None:
        self._model = model
        self._most = _places(model, most)
        self._whole = _on_a_gpu(model)
        self._owners = owners
        self._prompts = _prefill(model, prompts, owners)
        self._lengths_P = np.array([len(prompt) - 1 for prompt in prompts])
        self._owner_P = np.asarray(owners.of_prompts if owners else [0] * len(prompts))
        self._prompt_of = np.asarray(rows)
        capacity = min(self._most, _CAPACITY_ON_A_GPU if self._whole else _CAPACITY)
        self._own = {
            layer: _empty_replies(cache, len(rows), capacity, zero=self._whole)
            for layer, cache in self._prompts.items()
        }
        self._replay = Replay()
        self._written = 0
        self._written_1 = torch.zeros(1, dtype=torch.long, device=model.device)
        self._group()

    def logits(self, last_A: Tensor) -> Tensor:
        self._grow()
        logits_AV = self._replay(self._logits, last_A) if self._whole else self._logits(last_A)
        self._written += 1
        self._written_1 += 1
        return logits_AV

    def keep(self, rows: Tensor) -> None:
        for layer, replies in self._own.items():  # layer by layer: all at once would double the memory
            self._own[layer] = replies.taken(rows)
        prompts, self._prompt_of = np.unique(self._prompt_of[rows.cpu().numpy()], return_inverse=True)
        self._lengths_P, self._owner_P = self._lengths_P[prompts], self._owner_P[prompts]
        left, width = torch.from_numpy(prompts).to(rows.device), _places(self._model, int(self._lengths_P.max()))
        self._prompts = {layer: cache.taken(left).first(width) for layer, cache in self._prompts.items()}
        self._group()

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        prompts, own = self._prompts[layer], self._own[layer]
        self._store(own, key, value)
        length, width = prompts.keys.shape[2], self._width()
        # One softmax over prompt and reply together: the scores of both are written side by side.
        query_AkRD = torch.unflatten(query * scale, 1, (key.shape[1], -1))
        query_PkGD = self._together(query_AkRD)
        scores_PkGX = query.new_empty(*query_PkGD.shape[:3], length + width)
        scores_PkGX[..., :length] = query_PkGD @ prompts.keys.transpose(2, 3)
        scores_PkGX[..., length:] = self._together(query_AkRD @ own.keys[..., :width])
        if self._mask_P11X is not None:
            scores_PkGX += self._mask_P11X
        weights_PkGX = torch.softmax(scores_PkGX, dim=-1, dtype=torch.float32).to(query.dtype)
        of_prompt_PkGD = weights_PkGX[..., :length] @ prompts.values
        found_AkRD = self._apart(weights_PkGX[..., length:]) @ own.values[:, :, :width]
        return (found_AkRD + self._apart(of_prompt_PkGD)).flatten(1, 2)

    def _logits(self, last_A: Tensor) -> Tensor:
        self._mask_P11X = self._mask()
        hidden_AE = hidden_states(self._model, last_A, self._lengths_A + self._written_1, self)
        logits: Tensor = self._model.get_output_embeddings()(hidden_AE).float()
        return logits

    def _store(self, own: "_ReplyCache", key: Tensor, value: Tensor) -> None:
        """Write `key` and `value` (A, Hk, D) of each call's last token into the reply cache."""
        if self._whole:
            own.keys.index_copy_(3, self._written_1, key[..., None])
            own.values.index_copy_(2, self._written_1, value[:, :, None])
        else:
            own.keys[..., self._written] = key
            own.values[:, :, self._written] = value

    def _width(self) -> int:
        """Reply tokens that a step attends to (S)."""
        return self._capacity() if self._whole else self._written + 1

    def _mask(self) -> Tensor | None:
        """Additive mask (P, 1, 1, X): -inf at padding and unwritten places, 0 elsewhere; None if nothing is masked."""
        if self._whole:
            ahead_S = torch.arange(self._capacity(), device=self._written_1.device) > self._written_1
            unseen_PX = torch.cat([self._unseen_PL, ahead_S.expand(len(self._unseen_PL), -1)], dim=1)
        elif self._ragged:
            unseen_PX = torch.nn.functional.pad(self._unseen_PL, (0, self._width()))
        else:
            return None
        nothing = torch.zeros(unseen_PX.shape, dtype=self._model.dtype, device=unseen_PX.device)
        return nothing.masked_fill(unseen_PX, -torch.inf)[:, None, None]

    def _group(self) -> None:
        """Give each call an index among the calls of its prompt, and rebuild what depends on the prompts."""
        device = self._model.device
        counts = np.bincount(self._prompt_of, minlength=len(self._lengths_P))
        self._shape = (len(counts), int(counts.max()))
        nth = np.empty_like(self._prompt_of)
        nth[np.argsort(self._prompt_of, kind="stable")] = np.concatenate([np.arange(count) for count in counts])
        places = self._prompt_of * self._shape[1] + nth
        self._places_A = torch.from_numpy(places).to(device)
        self._in_order = np.array_equal(places, np.arange(self._shape[0] * self._shape[1]))
        width = next(iter(self._prompts.values())).keys.shape[2]
        unseen_PL = np.arange(width)[None] >= self._lengths_P[:, None]
        self._ragged = bool(unseen_PL.any())
        self._unseen_PL = torch.from_numpy(unseen_PL).to(device)
        self._lengths_A = torch.from_numpy(self._lengths_P[self._prompt_of]).to(device)
        if self._owners:
            self._owners.tell(self._owner_P[self._prompt_of])
        self._replay.forget()

    def _together(self, of_calls: Tensor) -> Tensor:
        """(A, Hk, R, x) -> (P, Hk, G * R, x), zero where a prompt has fewer than G calls."""
        if self._in_order:
            spread = of_calls
        else:
            spread = of_calls.new_zeros(self._shape[0] * self._shape[1], *of_calls.shape[1:])
            spread.index_copy_(0, self._places_A, of_calls)
        return torch.unflatten(spread, 0, self._shape).transpose(1, 2).flatten(2, 3)

    def _apart(self, of_prompts: Tensor) -> Tensor:
        """The inverse: (P, Hk, G * R, x) -> (A, Hk, R, x)."""
        spread = torch.unflatten(of_prompts, 2, (self._shape[1], -1)).transpose(1, 2).flatten(0, 1)
        return spread if self._in_order else spread.index_select(0, self._places_A)

    def _capacity(self) -> int:
        return next(iter(self._own.values())).keys.shape[3]

    def _grow(self) -> None:
        capacity = self._capacity()
        if self._written == capacity:
            for layer, replies in self._own.items():
                self._own[layer] = replies.wider(min(capacity, self._most - capacity))
            self._replay.forget()


@dataclass(frozen=True, slots=True)
class _PromptCache:
    """The prompt cache of one layer: keys and values, each (P, Hk, L, D)."""

    keys: Tensor
    values: Tensor

    def taken(self, rows: Tensor) -> "_PromptCache":
        return _PromptCache(self.keys.index_select(0, rows), self.values.index_select(0, rows))

    def first(self, tokens: int) -> "_PromptCache":
        return _PromptCache(self.keys[:, :, :tokens], self.values[:, :, :tokens])


@dataclass(frozen=True, slots=True)
class _ReplyCache:
    """The reply cache of one layer, of capacity S: keys (A, Hk, D, S) and values (A, Hk, S, D)."""

    keys: Tensor
    values: Tensor

    def taken(self, rows: Tensor) -> "_ReplyCache":
        return _ReplyCache(self.keys.index_select(0, rows), self.values.index_select(0, rows))

    def wider(self, tokens: int) -> "_ReplyCache":
        """The same cache with its capacity increased by `tokens`."""
        pad = torch.nn.functional.pad
        return _ReplyCache(pad(self.keys, (0, tokens)), pad(self.values, (0, 0, 0, tokens)))


def _empty_replies(like: _PromptCache, rows: int, capacity: int, *, zero: bool) -> _ReplyCache:
    """An empty reply cache. With `zero` it holds zeros: a weight of 0 times an uninitialised NaN would be NaN."""
    _, heads, _, width = like.keys.shape
    new = like.keys.new_zeros if zero else like.keys.new_empty
    # The values of some models (multi-head latent attention) are not as wide as their keys.
    return _ReplyCache(new(rows, heads, width, capacity), new(rows, heads, capacity, like.values.shape[3]))


class _Recording:
    """A layout that also stores the keys and values of every layer, as one row per prompt, padded on the right."""

    def __init__(self, layout: Layout, places_PL: Tensor) -> None:
        self._layout = layout
        self._places_PL = places_PL
        self.caches: dict[int, _PromptCache] = {}

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        rows = (one[self._places_PL].transpose(1, 2).contiguous() for one in (key, value))
        self.caches[layer] = _PromptCache(*rows)
        return self._layout.attend(layer, query, key, value, scale)


def _prefill(model: Any, prompts: Sequence[Sequence[int]], owners: Owners | None) -> dict[int, _PromptCache]:
    """Layer -> cache of the prompts without their last token. Prefixes that prompts share are computed once."""
    inputs = [prompt[:-1] for prompt in prompts]
    forest = _forest_apart(inputs, owners) if owners else forest_of(inputs)
    width = _places(model, max(len(places) for places in forest.paths))
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


def _places(model: Any, tokens: int) -> int:
    """The cache length for rows of at most `tokens` tokens."""
    return -(-tokens // _ALIGNED) * _ALIGNED if _on_a_gpu(model) else tokens


def _on_a_gpu(model: Any) -> bool:
    return bool(model.device.type == "cuda")
