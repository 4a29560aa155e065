"""All tokens side by side, no padding, every prefix that calls share computed once, forward and backward.

Shapes: N packed tokens, M completion tokens, C calls, A calls still going, P distinct prompts, G most calls of one,
L prompt tokens, S tokens said so far, H heads = Hk key heads x R, D values a head, E hidden values, V vocabulary.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from counterpoint.episode import Call
from counterpoint.forwards._attention import Layout, layout_of
from counterpoint.forwards._forest import Forest, forest_of, new_tokens
from counterpoint.forwards._head import chosen_logprobs
from counterpoint.forwards.base import Decoding, Scored

_FIRST_ROOM = 32
"""Tokens for which a call has room at first; the room doubles."""


class Packed:
    """For models whose attention goes through transformers' interface, plain and causal, in every layer."""

    name = "packed"

    def score(self, model: Any, calls: Sequence[Call]) -> Scored:
        forest = forest_of([inputs_of(call) for call in calls])
        device = model.device
        hidden_NE = _of_forest(model, forest, layout_of(forest, model))
        asked = [places[len(call.prompt_ids) - 1 :] for call, places in zip(calls, forest.paths, strict=True)]
        lengths = [len(places) for places in asked]
        hidden_ME = hidden_NE.index_select(0, torch.from_numpy(np.concatenate(asked)).to(device))
        targets_M = torch.tensor([token for call in calls for token in call.completion_ids], device=device)
        temperatures = np.repeat([call.temperature for call in calls], lengths)
        temperatures_M = torch.from_numpy(temperatures).to(device, torch.float32)
        logprobs_M = chosen_logprobs(hidden_ME, model.get_output_embeddings(), targets_M, temperatures_M)
        mask_CT = torch.from_numpy(np.arange(max(lengths))[None] < np.array(lengths)[:, None]).to(device)
        logprobs_CT = torch.zeros(mask_CT.shape, device=device).masked_scatter(mask_CT, logprobs_M)
        return Scored(logprobs_CT, mask_CT.float())

    def fits(self, ordered: Sequence[Call], max_tokens: int) -> int:
        tokens = 0
        for count, new in enumerate(new_tokens(map(inputs_of, ordered))):
            tokens += new
            if count and tokens > max_tokens:
                return count
        return len(ordered)

    def start(self, model: Any, prompts: Sequence[Sequence[int]], rows: Sequence[int]) -> Decoding:
        return _Decoding(model, _prefill(model, prompts), np.array([len(prompt) - 1 for prompt in prompts]), rows)


def inputs_of(call: Call) -> tuple[int, ...]:
    """The tokens that predict the call's completion."""
    return (*call.prompt_ids, *call.completion_ids[:-1])


def hidden_states(model: Any, ids_N: Tensor, positions_N: Tensor, layout: Layout) -> Tensor:
    """The last layer's output (N, E), normalised: what the head reads."""
    output = model.get_decoder()(
        input_ids=ids_N[None], position_ids=positions_N[None], use_cache=False, layout=layout
    )
    hidden: Tensor = output.last_hidden_state[0]
    return hidden


def _of_forest(model: Any, forest: Forest, layout: Layout) -> Tensor:
    ids_N, positions_N = (torch.from_numpy(one).to(model.device) for one in (forest.ids, forest.positions))
    return hidden_states(model, ids_N, positions_N, layout)


@dataclass(frozen=True, slots=True)
class _Memory:
    """What a layer knows of tokens: keys and values, each (rows, Hk, tokens, D)."""

    keys: Tensor
    values: Tensor

    def taken(self, rows: Tensor) -> "_Memory":
        return _Memory(self.keys.index_select(0, rows), self.values.index_select(0, rows))

    def first(self, tokens: int) -> "_Memory":
        return _Memory(self.keys[:, :, :tokens], self.values[:, :, :tokens])

    def wider(self, tokens: int) -> "_Memory":
        """The same with room for so many more tokens."""
        return _Memory(*(torch.nn.functional.pad(one, (0, 0, 0, tokens)) for one in (self.keys, self.values)))


class _Remembering:
    """A layout that keeps the keys and values of every layer, as rows of prompts padded on the right."""

    def __init__(self, layout: Layout, places_PL: Tensor) -> None:
        self._layout = layout
        self._places_PL = places_PL
        self.memories: dict[int, _Memory] = {}

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        rows = (one[self._places_PL].transpose(1, 2).contiguous() for one in (key, value))
        self.memories[layer] = _Memory(*rows)
        return self._layout.attend(layer, query, key, value, scale)


def _prefill(model: Any, prompts: Sequence[Sequence[int]]) -> dict[int, _Memory]:
    """Layer -> what it knows of the prompts, all but their last token: (P, Hk, L, D)."""
    forest = forest_of([prompt[:-1] for prompt in prompts])
    width = max(len(places) for places in forest.paths)
    padded = np.stack([np.pad(places, (0, width - len(places))) for places in forest.paths])
    layout = _Remembering(layout_of(forest, model), torch.from_numpy(padded).to(model.device))
    _of_forest(model, forest, layout)
    return layout.memories


class _Decoding:
    """Every call looks at its prompt, in one product with all calls of that prompt, and at what it has said."""

    def __init__(self, model: Any, prompts: dict[int, _Memory], lengths_P: np.ndarray, rows: Sequence[int]) -> None:
        self._model = model
        self._prompts = prompts
        self._lengths_P = lengths_P
        self._prompt_of = np.asarray(rows)
        self._said = 0
        self._own = {layer: _room(memory, len(rows)) for layer, memory in prompts.items()}
        self._group()

    def logits(self, last_A: Tensor) -> Tensor:
        self._make_room()
        positions_A = torch.from_numpy(self._lengths_P[self._prompt_of] + self._said).to(last_A.device)
        hidden_AE = hidden_states(self._model, last_A, positions_A, self)
        self._said += 1
        logits: Tensor = self._model.get_output_embeddings()(hidden_AE).float()
        return logits

    def keep(self, rows: Tensor) -> None:
        self._own = {layer: memory.taken(rows) for layer, memory in self._own.items()}
        prompts, self._prompt_of = np.unique(self._prompt_of[rows.cpu().numpy()], return_inverse=True)
        self._lengths_P = self._lengths_P[prompts]
        left, width = torch.from_numpy(prompts).to(rows.device), int(self._lengths_P.max())
        self._prompts = {layer: memory.taken(left).first(width) for layer, memory in self._prompts.items()}
        self._group()

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        prompts, own = self._prompts[layer], self._own[layer]
        own.keys[:, :, self._said], own.values[:, :, self._said] = key, value
        keys, values = (one[:, :, : self._said + 1] for one in (own.keys, own.values))
        query_AkRD = torch.unflatten(query * scale, 1, (key.shape[1], -1))
        of_prompt_AkRL = self._apart(self._together(query_AkRD) @ prompts.keys.transpose(2, 3))
        of_own_AkRS = query_AkRD @ keys.transpose(2, 3)
        if self._unseen_A11L is not None:
            of_prompt_AkRL = of_prompt_AkRL.masked_fill(self._unseen_A11L, -torch.inf)
        scores = torch.cat([of_prompt_AkRL, of_own_AkRS], dim=-1)
        weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
        from_prompt, from_own = torch.split(weights, [of_prompt_AkRL.shape[-1], self._said + 1], dim=-1)
        found_AkRD = self._apart(self._together(from_prompt) @ prompts.values) + from_own @ values
        return found_AkRD.flatten(1, 2)

    def _group(self) -> None:
        """Each call gets a place among the calls of its prompt."""
        counts = np.bincount(self._prompt_of, minlength=len(self._lengths_P))
        self._shape = (len(counts), int(counts.max()))
        nth = np.empty_like(self._prompt_of)
        nth[np.argsort(self._prompt_of, kind="stable")] = np.concatenate([np.arange(count) for count in counts])
        places = self._prompt_of * self._shape[1] + nth
        self._places_A = torch.from_numpy(places).to(self._model.device)
        self._in_order = np.array_equal(places, np.arange(self._shape[0] * self._shape[1]))
        unseen_PL = np.arange(int(self._lengths_P.max()))[None] >= self._lengths_P[:, None]
        unseen_AL = torch.from_numpy(unseen_PL[self._prompt_of]).to(self._model.device)
        self._unseen_A11L = unseen_AL[:, None, None] if unseen_PL.any() else None

    def _together(self, of_calls: Tensor) -> Tensor:
        """(A, Hk, R, x) -> (P, Hk, G * R, x), zero where a prompt has fewer calls than others."""
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

    def _make_room(self) -> None:
        room = next(iter(self._own.values())).keys.shape[2]
        if self._said == room:
            self._own = {layer: memory.wider(room) for layer, memory in self._own.items()}


def room_for(tokens: int) -> int:
    """Tokens for which a call that says so many has room in the end."""
    return _FIRST_ROOM << max(0, math.ceil(math.log2(tokens / _FIRST_ROOM)))


def _room(like: _Memory, rows: int) -> _Memory:
    _, heads, _, width = like.keys.shape
    return _Memory(*(like.keys.new_empty(rows, heads, _FIRST_ROOM, width) for _ in range(2)))
