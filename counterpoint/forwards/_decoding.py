"""Decoding of calls that share prompts, one token per step.

A prompt's keys and values are stored once, however many calls continue it. The queries of all its calls are multiplied
with them in one matrix product, which reads the prompt's cache once per step in place of once per call.

Calls may come and go. In a step all write into the same place of the reply cache, whenever they began, and a mask keeps
each from what lies before its beginning. The places are reused in turn once there are as many as the longest reply has
tokens, so that no reply is overwritten while it is read.

Shapes: A active calls, P distinct prompts, G calls of the prompt that has most, L prompt tokens, S reply tokens that
are seen, X = L + S, k key heads, H = k x R query heads, D values per head, E hidden values, V vocabulary.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from counterpoint.forwards._caches import PromptCache, ReplyCache, multiple, prefill
from counterpoint.forwards._hidden import hidden_states
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
        self._model, self._all_prompts, self._owners = model, prompts, owners
        self._whole = _on_a_gpu(model)
        self._aligned = _ALIGNED if self._whole else 1
        self._last_position = most - 1
        self._most = multiple(most, self._aligned)
        self._cached: list[int] = []
        """The prompts that are stored, in their order there."""
        self._prompts: dict[int, PromptCache] = {}
        self._own: dict[int, ReplyCache] = {}
        self._replay = Replay()
        self._written = 0
        """Steps since the places were last arranged."""
        self._written_1 = torch.zeros(1, dtype=torch.long, device=model.device)
        self._prompt_of, self._ages = np.empty(0, np.int64), np.empty(0, np.int64)
        self.admit(rows)

    def logits(self, last_A: Tensor) -> Tensor:
        self._grow()
        logits_AV = self._logits(last_A)
        self._stepped()
        return logits_AV

    def advance(self, last_A: Tensor, then: Callable[[Tensor], None]) -> None:
        self._grow()
        if self._whole:
            self._replay(lambda: then(self._logits(last_A)), last_A.device)
        else:
            then(self._logits(last_A))
        self._stepped()

    def keep(self, rows: Tensor) -> None:
        kept = rows.cpu().numpy()
        self._prompt_of, self._ages = self._prompt_of[kept], self._ages[kept]
        for layer, replies in self._own.items():  # layer by layer: all at once would double the memory
            self._own[layer] = replies.taken(rows)
        self._arrange(newcomers=0)
        self._forget_prompts()
        self._group()

    def admit(self, rows: Sequence[int]) -> None:
        new = [prompt for prompt in dict.fromkeys(rows) if prompt not in self._cached]
        if new:
            added = prefill(
                self._model,
                [self._all_prompts[prompt] for prompt in new],
                self._aligned,
                self._owners and self._owners.of(new),
            )
            for layer in list(added):
                cache = added.pop(layer)
                self._prompts[layer] = self._prompts[layer].beside(cache) if layer in self._prompts else cache
            self._cached += new
        if self._own:
            self._arrange(newcomers=len(rows))
        else:
            capacity = min(self._most, self._first_capacity())
            self._own = {layer: ReplyCache.empty(cache, len(rows), capacity) for layer, cache in self._prompts.items()}
        self._prompt_of = np.concatenate([self._prompt_of, np.asarray(rows)])
        self._ages = np.concatenate([self._ages, np.zeros(len(rows), np.int64)])
        self._group()

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        prompts, own = self._prompts[layer], self._own[layer]
        self._store(own, key, value)
        length, width = prompts.width, self._width()
        heads_AkRD = torch.unflatten(query, 1, (key.shape[1], -1))
        query_kARD = query.new_empty(heads_AkRD.transpose(0, 1).shape)
        torch.mul(heads_AkRD.transpose(0, 1), scale, out=query_kARD)
        # One softmax over prompt and reply together: the scores of both are put side by side.
        of_prompt_kARL = self._by_call(self._by_prompt(query_kARD) @ prompts.keys.transpose(2, 3))
        of_reply_kARS = query_kARD @ own.keys[:, :, :width].transpose(2, 3)
        scores_kARX = torch.cat([of_prompt_kARL, of_reply_kARS], dim=-1)
        if self._mask_A1X is not None:
            scores_kARX += self._mask_A1X
        weights_kARX = torch.softmax(scores_kARX, dim=-1)
        found_kARD = self._by_call(self._by_prompt(weights_kARX[..., :length]) @ prompts.values)
        replies, weights = own.values[:, :, :width].flatten(0, 1), weights_kARX[..., length:].flatten(0, 1)
        found_kARD.flatten(0, 1).baddbmm_(weights, replies)  # into the first sum: another pass would add them
        return found_kARD.transpose(0, 1).flatten(1, 2)

    def _logits(self, last_A: Tensor) -> Tensor:
        self._mask_A1X = self._mask()
        positions_A = self._lengths_A + self._ages_A.clamp(max=self._last_position)
        hidden_AE = hidden_states(self._model, last_A, positions_A, self)
        self._written_1 += 1
        self._ages_A += 1
        logits: Tensor = self._model.get_output_embeddings()(hidden_AE).float()
        return logits

    def _stepped(self) -> None:
        self._written += 1
        self._ages += 1

    def _store(self, own: ReplyCache, key: Tensor, value: Tensor) -> None:
        """Write `key` and `value` (A, k, D) of each call's last token into the reply cache."""
        for cache_kASD, one_AkD in ((own.keys, key), (own.values, value)):
            if self._whole:
                cache_kASD.index_copy_(2, self._place_1, one_AkD.transpose(0, 1)[:, :, None])
            else:
                cache_kASD[:, :, self._written % own.capacity] = one_AkD.transpose(0, 1)

    def _width(self) -> int:
        """Reply tokens that a step attends to (S)."""
        return self._capacity() if self._whole else min(self._written + 1, self._capacity())

    def _mask(self) -> Tensor | None:
        """Additive mask (A, 1, X): -inf at padding and at what is no part of a reply; None if nothing is masked."""
        capacity, device = self._capacity(), self._written_1.device
        if self._whole:
            self._place_1 = self._written_1 % capacity
        elif not self._staggered and not self._ragged:
            return None
        ago_S = torch.remainder(self._written_1 - torch.arange(self._width(), device=device), capacity)
        unseen_AX = torch.cat([self._unseen_AL, ago_S > self._ages_A[:, None]], dim=1)
        nothing = torch.zeros(unseen_AX.shape, dtype=self._model.dtype, device=device)
        return nothing.masked_fill_(unseen_AX, -torch.inf)[:, None]

    def _group(self) -> None:
        """Give each call a seat among those of its prompt, and rebuild what depends on the calls."""
        slots, lengths = self._slots(), self._lengths(self._prompt_of)
        counts = np.bincount(slots, minlength=len(self._cached))
        self._shape = (len(counts), int(counts.max()))
        nth = np.empty_like(slots)
        nth[np.argsort(slots, kind="stable")] = np.concatenate([np.arange(count) for count in counts])
        seats = slots * self._shape[1] + nth
        callers = np.zeros(self._shape[0] * self._shape[1], np.int64)  # an empty seat has the queries of any call
        callers[seats] = np.arange(len(seats))
        self._in_order = np.array_equal(seats, np.arange(len(callers)))
        unseen_AL = np.arange(next(iter(self._prompts.values())).width)[None] >= lengths[:, None]
        self._ragged, self._staggered = bool(unseen_AL.any()), bool((self._ages != self._written).any())
        device = self._model.device
        self._seats_A, self._callers_PG, self._unseen_AL, self._lengths_A, self._ages_A = (
            torch.from_numpy(one).to(device) for one in (seats, callers, unseen_AL, lengths, self._ages.copy())
        )
        if self._owners:
            self._owners.tell(np.asarray(self._owners.of_prompts)[self._prompt_of])
        self._replay.forget()

    def _slots(self) -> np.ndarray:
        """For each call the index of its prompt among those that are stored."""
        slot_of = {prompt: slot for slot, prompt in enumerate(self._cached)}
        return np.array([slot_of[prompt] for prompt in self._prompt_of.tolist()])

    def _lengths(self, prompts: Sequence[int] | np.ndarray) -> np.ndarray:
        """Stored tokens of these prompts: their last one is computed with the reply."""
        return np.array([len(self._all_prompts[prompt]) - 1 for prompt in prompts])

    def _by_prompt(self, of_calls: Tensor) -> Tensor:
        """(k, A, R, x) -> (k, P, G * R, x), with any values where a prompt has fewer than G calls."""
        seated = of_calls if self._in_order else of_calls.index_select(1, self._callers_PG)
        return torch.unflatten(seated, 1, self._shape).flatten(2, 3)

    def _by_call(self, of_prompts: Tensor) -> Tensor:
        """The inverse: (k, P, G * R, x) -> (k, A, R, x)."""
        seated = torch.unflatten(of_prompts, 2, (self._shape[1], -1)).flatten(1, 2)
        return seated if self._in_order else seated.index_select(1, self._seats_A)

    def _forget_prompts(self) -> None:
        """Prompts that no call has are stored no longer."""
        used = set(self._prompt_of.tolist())
        left = [slot for slot, prompt in enumerate(self._cached) if prompt in used]
        if len(left) == len(self._cached):
            return
        self._cached = [self._cached[slot] for slot in left]
        left_P = torch.tensor(left, device=self._model.device)
        width = multiple(int(self._lengths(self._cached).max()), self._aligned)
        for layer, cache in self._prompts.items():
            self._prompts[layer] = cache.taken(left_P, width)

    def _arrange(self, newcomers: int) -> None:
        """The reply cache begins with the oldest token of the calls there are, and has rows for newcomers."""
        oldest = min(int(self._ages.max()), self._capacity())
        if oldest == self._written and not newcomers:
            return
        capacity = min(self._most, self._first_capacity())
        while capacity < oldest:
            capacity = min(2 * capacity, self._most)
        places = np.arange(self._written - oldest, self._written) % self._capacity()
        places_S = torch.from_numpy(places).to(self._model.device)
        for layer, replies in self._own.items():
            self._own[layer] = replies.first(places_S, newcomers, capacity)
        self._written = oldest
        self._written_1.fill_(oldest)

    def _capacity(self) -> int:
        return next(iter(self._own.values())).capacity

    def _first_capacity(self) -> int:
        return _CAPACITY_ON_A_GPU if self._whole else _CAPACITY

    def _grow(self) -> None:
        """Make room for a token more, while there are fewer places than the longest reply has tokens."""
        capacity = self._capacity()
        if self._written == capacity < self._most:
            places_S = torch.arange(capacity, device=self._model.device)
            for layer, replies in self._own.items():
                self._own[layer] = replies.first(places_S, 0, min(2 * capacity, self._most))
            self._replay.forget()


def _on_a_gpu(model: Any) -> bool:
    return bool(model.device.type == "cuda")
