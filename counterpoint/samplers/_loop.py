"""The loop in which calls are generated, one token per step.

Shapes: C calls, A calls that are not finished yet, T completion tokens, V vocabulary.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from counterpoint.forwards.base import Decoding
from counterpoint.samplers._picking import picked, uniforms
from counterpoint.samplers.base import Request

_KEEP_BELOW = 0.75
"""Finished rows are dropped once less than this fraction of the rows is unfinished."""

Changed = Callable[[Tensor], None]
"""Told which requests the active rows belong to, row by row (indices, A), before a step is computed with them."""


def spoken(
    decoding: Decoding, requests: Sequence[Request], stops: Tensor, changed: Changed | None = None
) -> tuple[list[list[int]], list[list[float]], list[int]]:
    """Token ids and their log-probabilities (C, T), and how many of each row are its completion.

    `changed` is called before the first step and whenever the active rows have changed.
    """
    device = stops.device
    limits_C = torch.tensor([request.max_tokens for request in requests], device=device)
    temperatures_C = torch.tensor([request.temperature for request in requests], device=device)
    width = int(limits_C.max())
    uniforms_CT = torch.from_numpy(uniforms(requests, width)).to(device)
    ids_CT = torch.zeros(len(requests), width, dtype=torch.long, device=device)
    logprobs_CT = torch.zeros(len(requests), width, device=device)
    lengths_C = limits_C.clone()

    rows_A = torch.arange(len(requests), device=device)
    last_A = torch.tensor([request.prompt_ids[-1] for request in requests], device=device)
    going_A = torch.ones_like(rows_A, dtype=torch.bool)
    if changed:
        changed(rows_A)
    # A finished row goes on being computed until enough others are finished too, since dropping rows copies the
    # caches of those that stay; `going_A` keeps what it would say out of the results.
    for step in range(width):
        logits_AV = decoding.logits(last_A)
        last_A, picked_A = picked(logits_AV, temperatures_C[rows_A], uniforms_CT[rows_A, step])
        ids_CT[rows_A, step] = torch.where(going_A, last_A, ids_CT[rows_A, step])
        logprobs_CT[rows_A, step] = torch.where(going_A, picked_A, logprobs_CT[rows_A, step])
        ended_A = going_A & (torch.isin(last_A, stops) | (step + 1 >= limits_C[rows_A]))
        lengths_C[rows_A[ended_A]] = step + 1
        going_A = going_A & ~ended_A
        count = int(going_A.sum())
        if count == 0:
            break
        if count < _KEEP_BELOW * len(rows_A):
            decoding.keep(going_A.nonzero()[:, 0])
            rows_A, last_A = rows_A[going_A], last_A[going_A]
            going_A = going_A[going_A]
            if changed:
                changed(rows_A)
    return ids_CT.tolist(), logprobs_CT.tolist(), lengths_C.tolist()
