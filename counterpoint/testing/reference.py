"""Reference implementations: full forward passes, padding on the right, no cache, plain autograd.

They are slow, short, and independent of the code that is compared with them. Shapes: T completion tokens, V tokens.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from counterpoint.adapter import Adapter, digest_of
from counterpoint.episode import Call

_AT_ONCE = 16
"""Calls whose distributions are held at the same time."""
_IMPOSSIBLE = -1e4
"""The log-probability, in nats, of what is never drawn."""


def plain_logprobs(model: Any, calls: Sequence[Call], adapter: Adapter | None = None) -> list[Tensor]:
    """For each call the log-probabilities of its completion tokens under `model` with `adapter` added to it.

    `model` is the base, without any adapter in it. Gradients flow to the adapter's tensors if they require them.
    """
    found = []
    for call, rows in zip(calls, _distributions(model, calls, adapter), strict=True):
        found.append(torch.stack([one[token] for one, token in zip(rows, call.completion_ids, strict=True)]))
    return found


@torch.no_grad()
def plain_luck(model: Any, calls: Sequence[Call], adapter: Adapter | None = None) -> tuple[float, float]:
    """The sum, over the tokens of all completions, of log-probability plus entropy, and its variance.

    For tokens that are drawn from the distribution of `model` its expectation is 0; it is positive, in nats, where they
    are likelier than that. Computed for a few calls at a time.
    """
    luck = variance = 0.0
    for start in range(0, len(calls), _AT_ONCE):
        some = calls[start : start + _AT_ONCE]
        for call, logprobs_TV in zip(some, _distributions(model, some, adapter), strict=True):
            known_TV = logprobs_TV.double().clamp(min=_IMPOSSIBLE)  # 0 times infinity is not 0
            entropy_T = -(known_TV.exp() * known_TV).sum(-1, keepdim=True)
            ids = torch.tensor(call.completion_ids, device=known_TV.device)
            luck += float((known_TV.gather(-1, ids[:, None]) + entropy_T).sum())
            variance += float((known_TV.exp() * (known_TV + entropy_T) ** 2).sum())
    return luck, variance


def _distributions(model: Any, calls: Sequence[Call], adapter: Adapter | None) -> list[Tensor]:
    """For each call the log-probabilities of all tokens at each place of its completion."""
    width = max(len(call.prompt_ids) + len(call.completion_ids) for call in calls)
    rows = [[*call.prompt_ids, *call.completion_ids] for call in calls]
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=model.device)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=model.device)
    inputs = {"input_ids": ids, "attention_mask": mask, "use_cache": False}
    logits = functional_call(model, _weights(model, adapter), (), inputs).logits.float()
    found = []
    for call, row, predicted in zip(calls, rows, logits, strict=True):
        said = predicted[len(call.prompt_ids) - 1 : len(row) - 1]
        found.append(torch.log_softmax(said / call.temperature, dim=-1))
    return found


def wanting_gradients(adapter: Adapter) -> Adapter:
    """A copy of the adapter whose tensors require gradients."""
    tensors = {name: tensor.detach().clone().requires_grad_() for name, tensor in adapter.tensors.items()}
    return Adapter(policy=adapter.policy, version=adapter.version, scale=adapter.scale, tensors=tensors)


def plain_gradient(
    model: Any, calls: Sequence[Call], advantages: Sequence[float], weights: Sequence[float], adapter: Adapter
) -> dict[str, Tensor]:
    """The gradient of -sum of weight * advantage * log-probability over all tokens, for each tensor of the adapter."""
    ready = wanting_gradients(adapter)
    logprobs = plain_logprobs(model, calls, ready)
    parts = [-w * a * one.sum() for w, a, one in zip(weights, advantages, logprobs, strict=True)]
    gradients = torch.autograd.grad(torch.stack(parts).sum(), list(ready.tensors.values()))
    return dict(zip(ready.tensors, gradients, strict=True))


def dot(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """The inner product of two gradients."""
    return math.fsum(float((one[name].double() * other[name].double()).sum()) for name in one)


def largest_difference(found: Sequence[Sequence[float]], expected: Sequence[Tensor]) -> float:
    """The largest absolute difference of corresponding numbers; NaN if any of them is NaN."""
    differences: list[float] = [
        abs(mine - theirs)
        for row, wanted in zip(found, expected, strict=True)
        for mine, theirs in zip(row, wanted.tolist(), strict=True)
    ]
    return max(differences, key=lambda difference: math.inf if math.isnan(difference) else difference)


def adapter_digest(adapter: Adapter) -> str:
    """The digest that the adapter's policy must have."""
    return digest_of(adapter.tensors)


def _weights(model: Any, adapter: Adapter | None) -> dict[str, Tensor]:
    weights = dict(model.named_parameters())
    for module, a_RI, b_OR in () if adapter is None else adapter.layers():
        weights[f"{module}.weight"] = weights[f"{module}.weight"] + (adapter.scale if adapter else 0.0) * (b_OR @ a_RI)
    return weights
