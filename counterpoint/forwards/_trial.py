"""Passes are tried before they are used: on each machine another compiler makes their code.

Shapes: N tokens, E hidden values, F values of the MLP, H heads, D values per head; m rows of logits, V vocabulary.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from counterpoint.forwards._eager import Eager
from counterpoint.forwards._fused import Fused, Passes
from counterpoint.forwards._kernels import Kernels, Plain

_TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 3e-2, torch.float16: 4e-3}
"""Difference allowed to values and gradients, relative to their norm."""
_TOKENS, _HEADS, _WIDTH, _VOCABULARY = 37, 3, 40, 5000
_EPSILON = 1e-5

Trial = Callable[[Kernels], tuple[list[Tensor], list[Tensor]]]
"""Results of some kernels, and the inputs of which they have gradients."""


def why_not(passes: Passes, device: torch.device, dtype: torch.dtype) -> str:
    """Why `passes` are not to be used on that device with numbers of that type, in one line; empty if they are right.

    They are compared with plain ones, values and gradients, on a few numbers.
    """
    try:
        for what, found, wanted in _compared(passes, device, dtype):
            apart = float((found.double() - wanted.double()).norm())
            if not apart <= _TOLERANCE.get(dtype, 0.0) * float(wanted.double().norm()):
                return f"{what} is wrong on this machine"
    except Exception as error:  # whatever it is: what a compiler or a GPU lacks is told in many ways
        return (str(error).strip().split("\n")[0] or type(error).__name__)[:200]
    return ""


def _compared(passes: Passes, device: torch.device, dtype: torch.dtype) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Each result by name, of `passes` and of plain ones."""
    for what, trial in _trials(device, dtype).items():
        for found, wanted in zip(_of(trial, Fused(passes)), _of(trial, Plain()), strict=True):
            yield what, found, wanted
    logits_mV, places_M = _normal(_TOKENS, _VOCABULARY, like=(device, dtype)), _places(device)
    targets_m, temperatures_m = places_M[:_TOKENS] * 100, torch.linspace(0.5, 2.0, _TOKENS, device=device)
    for found, wanted in zip(
        passes.chosen(logits_mV.clone(), targets_m, temperatures_m),
        Plain().chosen(logits_mV.clone(), targets_m, temperatures_m),
        strict=True,
    ):
        yield "a log-probability", found, wanted
    x_NX, slope_MX = (_normal(len(one), 700, like=(device, dtype)) for one in (places_M[:_TOKENS], places_M))
    yield "a gathered row", passes.taken(x_NX, places_M), Eager().taken(x_NX, places_M)
    order_M, counts_N = torch.argsort(places_M, stable=True), torch.bincount(places_M, minlength=_TOKENS)
    ends_L = torch.cat([counts_N.new_zeros(1), counts_N.cumsum(0)])
    found, wanted = (one.summed(slope_MX, order_M, ends_L) for one in (passes, Eager()))
    yield "a sum of gathered rows", found, wanted


def _trials(device: torch.device, dtype: torch.dtype) -> dict[str, Trial]:
    like = (device, dtype)
    x, y = _normal(_TOKENS, _WIDTH, like=like), _normal(_TOKENS, _WIDTH, like=like, seed=1)
    weight = 1 + 0.3 * _normal(_WIDTH, like=like)
    heads, cos, sin = _normal(_TOKENS, _HEADS, _WIDTH, like=like), x.cos(), x.sin()
    for one in (x, y, heads):
        one.requires_grad_()
    cos, sin = cos.detach(), sin.detach()
    return {
        "a norm": lambda kernels: ([kernels.normed(x, weight, _EPSILON)], [x]),
        "a norm of a sum": lambda kernels: (list(kernels.added_and_normed(x, y, weight, _EPSILON)), [x, y]),
        "a rotation": lambda kernels: ([kernels.turned(heads, None, 0.0, cos, sin)], [heads]),
        "a normed rotation": lambda kernels: ([kernels.turned(heads, weight, _EPSILON, cos, sin)], [heads]),
        "a gate": lambda kernels: ([kernels.gated(x, y)], [x, y]),
    }


@torch.enable_grad()
def _of(trial: Trial, kernels: Kernels) -> list[Tensor]:
    """The results, and their gradients."""
    results, inputs = trial(kernels)
    pulls = [_normal(*one.shape, like=(one.device, one.dtype), seed=2 + at) for at, one in enumerate(results)]
    return [*(one.detach() for one in results), *torch.autograd.grad(results, inputs, pulls)]


def _normal(*shape: int, like: tuple[torch.device, torch.dtype], seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(*like)


def _places(device: torch.device) -> Any:
    """Places among `_TOKENS` rows, one of which is taken often, some never and some once."""
    return torch.tensor([*range(0, _TOKENS, 2), *range(_TOKENS - 5), *[7] * 29], device=device)
