"""Calls packed into micro-batches, and their log-probabilities under a model.

Shapes: C calls, T completion tokens, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from counterpoint.base_model import completion_logits, pad, prefill
from counterpoint.episode import Call


class Scored(NamedTuple):
    logprobs_CT: Tensor
    mask_CT: Tensor
    """1 where there is a token, 0 where there is padding; float."""


def micro_batches(calls: Sequence[Call], max_tokens: int) -> Iterator[list[int]]:
    """Indices of `calls`, every one once, in batches of at most `max_tokens` tokens with padding, or of one call.

    Slots are kept in order and calls with the same prompt together, so that a batch computes few distinct prompts.
    """
    order = sorted(range(len(calls)), key=lambda index: (calls[index].key.slot, calls[index].prompt_ids, index))
    batch: list[int] = []
    widest = 0
    for index in order:
        width = len(calls[index].prompt_ids) + len(calls[index].completion_ids)
        if batch and max(widest, width) * (len(batch) + 1) > max_tokens:
            yield batch
            batch, widest = [], 0
        batch.append(index)
        widest = max(widest, width)
    if batch:
        yield batch


def score(model: Any, calls: Sequence[Call]) -> Scored:
    """Log-probability of every completion token at its call's temperature; each distinct prompt is computed once."""
    prompts = list(dict.fromkeys(call.prompt_ids for call in calls))
    place = {prompt: index for index, prompt in enumerate(prompts)}
    prefix = prefill(model, prompts, [place[call.prompt_ids] for call in calls])
    inputs_CT, mask_CT = pad([[call.prompt_ids[-1], *call.completion_ids[:-1]] for call in calls], model.device)
    targets_CT, _ = pad([call.completion_ids for call in calls], model.device)
    temperatures_C11 = torch.tensor([call.temperature for call in calls], device=model.device)[:, None, None]
    logits_CTV = completion_logits(model, prefix, inputs_CT, mask_CT) / temperatures_C11
    logprobs_CT = torch.log_softmax(logits_CTV, dim=-1).gather(2, targets_CT[:, :, None])[:, :, 0]
    return Scored(logprobs_CT, mask_CT.float())


def pad_values(rows: Sequence[Sequence[float]], like_CT: Tensor) -> Tensor:
    """Values a token, padded on the right with 0 to the shape of `like_CT`; a row may be empty."""
    width = like_CT.shape[1]
    padded = [[*row, *[0.0] * (width - len(row))] for row in rows]
    return torch.tensor(padded, dtype=like_CT.dtype, device=like_CT.device)
