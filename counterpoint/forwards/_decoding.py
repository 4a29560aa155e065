"""Calls that go on from shared prompts, a token at a time.

Shapes: A calls still going, P distinct prompts, G most calls of one, L prompt tokens, S tokens of replies for which
there is room or that are looked at, X = L + S, H heads = Hk key heads x R, D values a head, E hidden values,
V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from counterpoint.forwards._attention import Layout, layout_of
from counterpoint.forwards._forest import forest_of
from counterpoint.forwards._hidden import hidden_states, of_forest
from counterpoint.forwards._replay import Replay

_FIRST_ROOM = 32
"""Tokens for which a call has room at first; the room doubles, up to what the call may say."""
_FIRST_ROOM_ON_A_GPU = 128
_ALIGNED = 8
"""Prompts and replies take a multiple of so many places on a GPU, whose matrix products are slow at odd ones."""


class PackedDecoding:
    """Every call looks at its prompt, in one product with all calls of that prompt, and at what it has said.

    On a GPU it looks at all of its room, with what is not said yet left out: so the shapes stay, and a step can be
    replayed.
    """

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]], rows: Sequence[int], most: int) -> None:
        self._model = model
        self._most = _places(model, most)
        self._whole = _on_a_gpu(model)
        self._prompts = _prefill(model, prompts)
        self._lengths_P = np.array([len(prompt) - 1 for prompt in prompts])
        self._prompt_of = np.asarray(rows)
        room = min(self._most, _FIRST_ROOM_ON_A_GPU if self._whole else _FIRST_ROOM)
        self._own = {
            layer: _no_reply(memory, len(rows), room, zero=self._whole) for layer, memory in self._prompts.items()
        }
        self._replay = Replay()
        self._said = 0
        self._said_1 = torch.zeros(1, dtype=torch.long, device=model.device)
        self._group()

    def logits(self, last_A: Tensor) -> Tensor:
        self._make_room()
        logits_AV = self._replay(self._logits, last_A) if self._whole else self._logits(last_A)
        self._said += 1
        self._said_1 += 1
        return logits_AV

    def keep(self, rows: Tensor) -> None:
        for layer, said in self._own.items():  # one after the other: of all at once, twice as much would be there
            self._own[layer] = said.taken(rows)
        prompts, self._prompt_of = np.unique(self._prompt_of[rows.cpu().numpy()], return_inverse=True)
        self._lengths_P = self._lengths_P[prompts]
        left, width = torch.from_numpy(prompts).to(rows.device), _places(self._model, int(self._lengths_P.max()))
        self._prompts = {layer: memory.taken(left).first(width) for layer, memory in self._prompts.items()}
        self._group()

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        prompts, own = self._prompts[layer], self._own[layer]
        self._remember(own, key, value)
        length, width = prompts.keys.shape[2], self._width()
        query_AkRD = torch.unflatten(query * scale, 1, (key.shape[1], -1))
        query_PkGD = self._together(query_AkRD)
        scores_PkGX = query.new_empty(*query_PkGD.shape[:3], length + width)
        scores_PkGX[..., :length] = query_PkGD @ prompts.keys.transpose(2, 3)
        scores_PkGX[..., length:] = self._together(query_AkRD @ own.keys[..., :width])
        if self._unseen_P11X is not None:
            scores_PkGX += self._unseen_P11X
        weights_PkGX = torch.softmax(scores_PkGX, dim=-1, dtype=torch.float32).to(query.dtype)
        of_prompt_PkGD = weights_PkGX[..., :length] @ prompts.values
        found_AkRD = self._apart(weights_PkGX[..., length:]) @ own.values[:, :, :width]
        return (found_AkRD + self._apart(of_prompt_PkGD)).flatten(1, 2)

    def _logits(self, last_A: Tensor) -> Tensor:
        self._unseen_P11X = self._unseen()
        hidden_AE = hidden_states(self._model, last_A, self._lengths_A + self._said_1, self)
        logits: Tensor = self._model.get_output_embeddings()(hidden_AE).float()
        return logits

    def _remember(self, own: "_Said", key: Tensor, value: Tensor) -> None:
        """`key` and `value` (A, Hk, D) are those of the token that was said last."""
        if self._whole:
            own.keys.index_copy_(3, self._said_1, key[..., None])
            own.values.index_copy_(2, self._said_1, value[:, :, None])
        else:
            own.keys[..., self._said] = key
            own.values[:, :, self._said] = value

    def _width(self) -> int:
        """Tokens of replies that are looked at."""
        return self._room() if self._whole else self._said + 1

    def _unseen(self) -> Tensor | None:
        """(P, 1, 1, X), -inf where there is nothing to be seen, else 0; None if there is no such place."""
        if self._whole:
            ahead_S = torch.arange(self._room(), device=self._said_1.device) > self._said_1
            unseen_PX = torch.cat([self._unseen_PL, ahead_S.expand(len(self._unseen_PL), -1)], dim=1)
        elif self._ragged:
            unseen_PX = torch.nn.functional.pad(self._unseen_PL, (0, self._width()))
        else:
            return None
        nothing = torch.zeros(unseen_PX.shape, dtype=self._model.dtype, device=unseen_PX.device)
        return nothing.masked_fill(unseen_PX, -torch.inf)[:, None, None]

    def _group(self) -> None:
        """Each call gets a place among the calls of its prompt."""
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
        self._replay.forget()

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

    def _room(self) -> int:
        return next(iter(self._own.values())).keys.shape[3]

    def _make_room(self) -> None:
        room = self._room()
        if self._said == room:
            for layer, said in self._own.items():
                self._own[layer] = said.wider(min(room, self._most - room))
            self._replay.forget()


@dataclass(frozen=True, slots=True)
class _Memory:
    """What a layer knows of prompts: keys and values, each (P, Hk, L, D)."""

    keys: Tensor
    values: Tensor

    def taken(self, rows: Tensor) -> "_Memory":
        return _Memory(self.keys.index_select(0, rows), self.values.index_select(0, rows))

    def first(self, tokens: int) -> "_Memory":
        return _Memory(self.keys[:, :, :tokens], self.values[:, :, :tokens])


@dataclass(frozen=True, slots=True)
class _Said:
    """What a layer knows of replies, each with room for more of them: keys (A, Hk, D, S) and values (A, Hk, S, D)."""

    keys: Tensor
    values: Tensor

    def taken(self, rows: Tensor) -> "_Said":
        return _Said(self.keys.index_select(0, rows), self.values.index_select(0, rows))

    def wider(self, tokens: int) -> "_Said":
        """The same with room for so many more tokens."""
        pad = torch.nn.functional.pad
        return _Said(pad(self.keys, (0, tokens)), pad(self.values, (0, 0, 0, tokens)))


def _no_reply(like: _Memory, rows: int, room: int, *, zero: bool) -> _Said:
    """Nothing said so far. Where tokens that are not said yet are multiplied, by 0, they must be numbers."""
    _, heads, _, width = like.keys.shape
    new = like.keys.new_zeros if zero else like.keys.new_empty
    return _Said(new(rows, heads, width, room), new(rows, heads, room, width))


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
    width = _places(model, max(len(places) for places in forest.paths))
    padded = np.stack([np.pad(places, (0, width - len(places))) for places in forest.paths])
    layout = _Remembering(layout_of(forest, model), torch.from_numpy(padded).to(model.device))
    of_forest(model, forest, layout)
    return layout.memories


def _places(model: Any, tokens: int) -> int:
    """Places for the longest of some rows, which has so many tokens."""
    return -(-tokens // _ALIGNED) * _ALIGNED if _on_a_gpu(model) else tokens


def _on_a_gpu(model: Any) -> bool:
    return bool(model.device.type == "cuda")
