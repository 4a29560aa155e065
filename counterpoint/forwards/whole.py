"""Whole sequences, for models that keep a state which padding or a cache would disturb: state spaces, linear attention.

In a causal model nothing depends on what follows, so rows that are padded on the right are exact, whatever their layers
are. A call is scored from its prompt and completion together, without a cache.

Shapes: C calls, A active calls, P distinct prompts, L tokens of the longest row, T tokens asked for, M completion
tokens, E hidden values, V vocabulary.
"""

import inspect
import logging
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from counterpoint.episode import Call
from counterpoint.errors import ModelError
from counterpoint.forwards._head import scored
from counterpoint.forwards.base import Decoding, Owners, Scored, asked, pad, padded_rows_within

_LOG = logging.getLogger(__name__)
_CACHES = ("cache", "past_key_values", "cache_params")
"""Names under which models return their cache and take it back."""


class Whole:
    """One row per call, padded on the right, without a cache; a prompt that calls share is computed for each of them.

    While sampling, each distinct prompt is computed once and the model's own cache is advanced one token per step; with
    `cached=False` every step computes the whole rows again, for models whose steps differ from their full pass.
    """

    name = "whole"
    takes_owners = False

    def __init__(self, why: str = "", *, by_head: bool = False, cached: bool = True) -> None:
        self.why = why
        """Why neither "packed" nor "plain" is used; empty if "whole" was requested."""
        self.by_head = by_head
        """True if the logits are the head's output: then those of the prompts are never computed."""
        self.cached = cached

    def score(self, model: Any, calls: Sequence[Call]) -> Scored:
        rows = [(*call.prompt_ids, *call.completion_ids[:-1]) for call in calls]
        if self.by_head:
            return scored(_hidden_states(model, rows, calls), model.get_output_embeddings(), calls)
        targets_CT, mask_CT = pad([call.completion_ids for call in calls], model.device)
        temperatures_C11 = torch.tensor([call.temperature for call in calls], device=model.device)[:, None, None]
        logits_CTV = last_logits(model, rows, [len(call.completion_ids) for call in calls]) / temperatures_C11
        logprobs_CT = torch.log_softmax(logits_CTV, dim=-1).gather(2, targets_CT[:, :, None])[:, :, 0]
        return Scored(logprobs_CT * mask_CT, mask_CT.float())

    def fits(self, ordered: Sequence[Call], max_tokens: int) -> int:
        return padded_rows_within(ordered, max_tokens)

    def start(
        self,
        model: Any,
        prompts: Sequence[Sequence[int]],
        rows: Sequence[int],
        most: int,
        owners: Owners | None = None,
    ) -> Decoding:
        return (_Stepwise if self.cached else _Recomputed)(model, *asked(prompts, rows))


def _hidden_states(model: Any, rows: Sequence[Sequence[int]], calls: Sequence[Call]) -> Tensor:
    """The decoder's output (M, E) after its final norm at the tokens that predict the completions."""
    ids_CL, _ = pad(rows, model.device)
    hidden_CLE = model.get_decoder()(input_ids=ids_CL, use_cache=False).last_hidden_state
    asked_CL = torch.zeros(ids_CL.shape, dtype=torch.bool)
    for place, (row, call) in enumerate(zip(rows, calls, strict=True)):
        asked_CL[place, len(call.prompt_ids) - 1 : len(row)] = True
    found: Tensor = hidden_CLE[asked_CL.to(model.device)].to(model.get_output_embeddings().weight.dtype)
    return found


def last_logits(model: Any, rows: Sequence[Sequence[int]], counts: Sequence[int]) -> Tensor:
    """Float32 logits (C, T, V) after each of the last `counts[c]` tokens of `rows[c]`; beyond them any values."""
    ids_CL, _ = pad(rows, model.device)
    firsts = [len(row) - count for row, count in zip(rows, counts, strict=True)]
    asked_T = torch.arange(max(counts), device=model.device)
    places_CT = (torch.tensor(firsts, device=model.device)[:, None] + asked_T).clamp(max=ids_CL.shape[1] - 1)
    logits_CLV = _called(model, input_ids=ids_CL, use_cache=False, logits_to_keep=ids_CL.shape[1] - min(firsts)).logits
    places_CT -= ids_CL.shape[1] - logits_CLV.shape[1]
    found: Tensor = logits_CLV[torch.arange(len(rows), device=model.device)[:, None], places_CT].float()
    return found


class _Stepwise:
    """Decoding with the model's own cache, one token per step; the prompts are padded on the left and masked."""

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]], rows: Sequence[int]) -> None:
        ids_PL, mask_PL = (one.flip(1) for one in pad([prompt[-2::-1] for prompt in prompts], model.device))
        self._model = model
        positions_PL = (mask_PL.cumsum(dim=1) - 1).clamp(min=0)
        self._cache = self._advanced(ids_PL, mask_PL, positions_PL)[1]
        self._mask_AS, self._lengths_A = mask_PL, mask_PL.sum(dim=1)
        self.keep(torch.tensor(rows, device=model.device))

    def logits(self, last_A: Tensor) -> Tensor:
        self._mask_AS = torch.nn.functional.pad(self._mask_AS, (0, 1), value=1)
        positions_A1 = self._lengths_A[:, None]
        # A model that has nothing but a state knows no mask over what is behind it, and the last token is no padding.
        mask_AS = None if "cache_params" in self._cache else self._mask_AS
        logits_AV, self._cache = self._advanced(last_A[:, None], mask_AS, positions_A1, self._cache)
        self._lengths_A = self._lengths_A + 1
        return logits_AV

    def keep(self, rows: Tensor) -> None:
        _select(next(iter(self._cache.values())), rows)
        self._mask_AS, self._lengths_A = self._mask_AS[rows], self._lengths_A[rows]

    def _advanced(
        self, ids: Tensor, mask: Tensor | None, positions: Tensor, cache: dict[str, Any] | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """The float32 logits (rows, V) after the last token, and the cache by the name that the model has for it."""
        output = _called(
            self._model,
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            use_cache=True,
            logits_to_keep=1,
            **(cache or {}),
        )
        found = {name: output[name] for name in _CACHES if output.get(name) is not None}
        if len(found) != 1:
            raise ModelError("this model returns no cache that is known")
        return output.logits[:, -1].float(), found


class _Recomputed:
    """Decoding without a cache: every step computes all rows from their first token."""

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]], rows: Sequence[int]) -> None:
        _warn_of_time(model.config.model_type)
        self._model = model
        self._rows = [list(prompts[row][:-1]) for row in rows]

    def logits(self, last_A: Tensor) -> Tensor:
        for row, last in zip(self._rows, last_A.tolist(), strict=True):
            row.append(last)
        return last_logits(self._model, self._rows, [1] * len(self._rows))[:, 0]

    def keep(self, rows: Tensor) -> None:
        self._rows = [self._rows[row] for row in rows.tolist()]


@cache
def _warn_of_time(kind: str) -> None:
    """Once for each model type."""
    _LOG.warning("every token of a %s model is sampled by computing whole sequences again, which takes long", kind)


def _select(cache: Any, rows: Tensor) -> None:
    """The cache has these rows, in this order; a row may be taken several times."""
    # Layers with a state can only be reordered; a cache class of the model's own has to select what it adds itself.
    if type(cache) is DynamicCache:
        cache.reorder_cache(rows)
    else:
        cache.batch_select_indices(rows)


def _called(model: Any, **inputs: Any) -> Any:
    """The model's output, given those of the inputs that it accepts."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    accepted = inspect.signature(base.forward).parameters
    return model(**{name: value for name, value in inputs.items() if name in accepted})
