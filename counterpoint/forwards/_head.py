"""Log-probabilities of given tokens from hidden states, in pieces: the logits of all tokens never exist at once.

Shapes: M tokens, m tokens of one piece, C calls, T tokens of the longest completion, E hidden values, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from counterpoint.episode import Call
from counterpoint.forwards._choice import kernels_of
from counterpoint.forwards.base import Scored


def rows_at_once(device: str, vocabulary: int) -> int:
    """Tokens per piece: at most 512 MiB of float32 logits on a GPU, 64 MiB on a CPU.

    On a CPU at most 512 tokens, so that the logits of a small vocabulary stay in its cache between passes over them.
    """
    if device.startswith("cuda"):
        return max(1, 2**27 // vocabulary)
    return min(512, max(1, 2**24 // vocabulary))


def chosen_logprobs(hidden_ME: Tensor, head: torch.nn.Linear, targets_M: Tensor, temperatures_M: Tensor) -> Tensor:
    """Float32 log-probability (M) of each target under softmax(head(hidden) / temperature).

    Gradients flow to `hidden_ME` alone: the head is frozen.
    """
    rows = rows_at_once(hidden_ME.device.type, head.out_features)
    if hidden_ME.requires_grad and torch.is_grad_enabled():
        found: Tensor = _Chosen.apply(hidden_ME, head, targets_M, temperatures_M, rows)  # type: ignore[no-untyped-call]
        return found
    # By the same kernel as above, whose slopes are not needed here, so that both give the same bits.
    kernels = kernels_of(hidden_ME.device, head.weight.dtype)
    parts = zip(*(torch.split(one, rows) for one in (hidden_ME, targets_M, temperatures_M)), strict=True)
    return torch.cat([kernels.chosen(head(hidden), targets, warmth)[0] for hidden, targets, warmth in parts])


def scored(hidden_ME: Tensor, head: torch.nn.Linear, calls: Sequence[Call]) -> Scored:
    """The scores of `calls`, given the hidden states that predict their completions' tokens, call after call."""
    device, lengths = hidden_ME.device, [len(call.completion_ids) for call in calls]
    targets_M = torch.tensor([token for call in calls for token in call.completion_ids], device=device)
    temperatures = np.repeat([call.temperature for call in calls], lengths)
    temperatures_M = torch.from_numpy(temperatures).to(device, torch.float32)
    logprobs_M = chosen_logprobs(hidden_ME, head, targets_M, temperatures_M)
    mask_CT = torch.from_numpy(np.arange(max(lengths))[None] < np.array(lengths)[:, None]).to(device)
    logprobs_CT = torch.zeros(mask_CT.shape, device=device).masked_scatter(mask_CT, logprobs_M)
    return Scored(logprobs_CT, mask_CT.float())


class _Chosen(torch.autograd.Function):
    """Log-probabilities whose gradient is computed in the forward pass, while the logits exist.

    d l_m / d h_m = (onehot(y_m) - softmax(z_m)) W / temperature_m, where z_m = W h_m / temperature_m. This costs the
    same matrix products as the usual backward pass and saves M x E values for it in place of M x V.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden_ME: Tensor, head: torch.nn.Linear, targets_M: Tensor, temperatures_M: Tensor, rows: int
    ) -> Tensor:
        kernels = kernels_of(hidden_ME.device, head.weight.dtype)
        slope_ME = torch.empty_like(hidden_ME)
        values = []
        for start in range(0, len(hidden_ME), rows):
            piece = slice(start, start + rows)
            found_m, pull_mV = kernels.chosen(head(hidden_ME[piece]), targets_M[piece], temperatures_M[piece])
            values.append(found_m)
            slope_ME[piece] = pull_mV @ head.weight
        ctx.save_for_backward(slope_ME)
        return torch.cat(values)

    @staticmethod
    def backward(ctx: Any, gradient_M: Tensor) -> tuple[Tensor, None, None, None, None]:
        (slope_ME,) = ctx.saved_tensors
        return (gradient_M[:, None] * slope_ME).to(slope_ME.dtype), None, None, None, None
