"""The plain forward, with the cache and masks of transformers, for models whose layers are attention.

Shapes: P distinct prompts, C calls, L prompt tokens, T completion tokens, V vocabulary.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from counterpoint.episode import Call
from counterpoint.forwards.base import Decoding, Owners, Scored, asked, pad, padded_rows_within


class Plain:
    """One padded row per call; each distinct prompt is computed once and its cache copied to its calls."""

    name = "plain"
    takes_owners = False

    def __init__(self, why: str = "") -> None:
        self.why = why
        """Why the model is not run packed; empty if "plain" was requested."""

    def score(self, model: Any, calls: Sequence[Call]) -> Scored:
        prompts = list(dict.fromkeys(call.prompt_ids for call in calls))
        place = {prompt: index for index, prompt in enumerate(prompts)}
        prefix = prefill(model, prompts, [place[call.prompt_ids] for call in calls])
        inputs_CT, mask_CT = pad([[call.prompt_ids[-1], *call.completion_ids[:-1]] for call in calls], model.device)
        targets_CT, _ = pad([call.completion_ids for call in calls], model.device)
        temperatures_C11 = torch.tensor([call.temperature for call in calls], device=model.device)[:, None, None]
        logits_CTV = completion_logits(model, prefix, inputs_CT, mask_CT) / temperatures_C11
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
        return _Decoding(model, prefill(model, *asked(prompts, rows)))


@dataclass(frozen=True, slots=True)
class Prefix:
    """The key-value cache of the prompts without their last token: one row per call."""

    cache: DynamicCache
    mask_CL: Tensor
    lengths_C: Tensor
    """Cached tokens per call, without padding."""


class _Decoding:
    def __init__(self, model: Any, prefix: Prefix) -> None:
        self._model = model
        self._prefix = prefix

    def logits(self, last_A: Tensor) -> Tensor:
        ones_A1 = torch.ones_like(last_A)[:, None]
        logits_AV = completion_logits(self._model, self._prefix, last_A[:, None], ones_A1)[:, -1]
        prefix = self._prefix
        mask_AS = torch.cat([prefix.mask_CL, ones_A1], dim=1)
        self._prefix = Prefix(prefix.cache, mask_AS, prefix.lengths_C + 1)
        return logits_AV

    def keep(self, rows: Tensor) -> None:
        prefix = self._prefix
        prefix.cache.batch_select_indices(rows)
        self._prefix = Prefix(prefix.cache, prefix.mask_CL[rows], prefix.lengths_C[rows])


def prefill(model: Any, prompts: Sequence[Sequence[int]], rows: Sequence[int]) -> Prefix:
    """Compute each distinct prompt once; row c of the result caches `prompts[rows[c]]` without its last token.

    The last token is fed together with the completion, whose first token it predicts. Gradients flow through the result
    where they are enabled. Every prompt must have at least two tokens. Padding is on the left, so that distances in the
    cache are those in the text, which attention over a sliding window depends on.
    """
    ids_PL, mask_PL = (one.flip(1) for one in pad([prompt[-2::-1] for prompt in prompts], model.device))
    positions_PL = (mask_PL.cumsum(dim=1) - 1).clamp(min=0)
    cache = DynamicCache(config=model.config)
    model(
        input_ids=ids_PL,
        attention_mask=mask_PL,
        position_ids=positions_PL,
        use_cache=True,
        logits_to_keep=1,
        **{_cache_argument(model): cache},
    )
    rows_C = torch.tensor(rows, device=model.device)
    cache.batch_select_indices(rows_C)
    mask_CL = mask_PL[rows_C]
    return Prefix(cache, mask_CL, mask_CL.sum(dim=1))


def completion_logits(model: Any, prefix: Prefix, inputs_CT: Tensor, mask_CT: Tensor) -> Tensor:
    """Float32 logits (C, T, V) after each input token; the inputs follow the cached prompts."""
    positions_CT = prefix.lengths_C[:, None] + torch.arange(inputs_CT.shape[1], device=inputs_CT.device)[None]
    output = model(
        input_ids=inputs_CT,
        attention_mask=torch.cat([prefix.mask_CL, mask_CT], dim=1),
        position_ids=positions_CT,
        use_cache=True,
        **{_cache_argument(model): prefix.cache},
    )
    logits: Tensor = output.logits.float()
    return logits


def _cache_argument(model: Any) -> str:
    """The name that the model gives to its cache: transformers 5.24 renamed it, and ends the old name with 5.40."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "cache" if "cache" in inspect.signature(base.forward).parameters else "past_key_values"
