"""A rehearsal of policies side by side: some models give a layer other rows than they were given, as experts are.

Shapes: S steps, A calls, V vocabulary; R rank, I inputs and O outputs of an adapted layer.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from counterpoint.adapter import Adapter, tensor_names
from counterpoint.errors import ModelError
from counterpoint.forwards.base import Forward, Owners
from counterpoint.forwards.several import Rows
from counterpoint.samplers._weights import Layers, put_beside
from counterpoint.targets import sizes_of

_TOLERANCE = {torch.float32: 1e-3}
"""The difference allowed to policies side by side, by the type of their base, as a part of the difference between them.

A policy that is given another's rows differs by all of it.
"""
_OF_HALF = 0.3
_RANK = 4
_STEPS = 2
_PROMPTS = ((0, (3, 10, 31, 44, 5)), (1, (3, 10, 31)), (0, (7, 3, 9)), (1, (3, 10, 31, 44, 5)), (1, (12, 4)))
"""Policy and prompt, some of which begin alike."""
_ROWS = (0, 4, 1, 1, 3, 2)


@torch.no_grad()
def why_not_together(model: Any, layers: Layers, forward: Forward) -> str:
    """Why `model` cannot compute policies side by side; empty if two with random adapters are as they are alone.

    Afterwards its layers have no adapter.
    """
    if not forward.takes_owners:
        return f"the forward {forward.name!r} computes one policy at a time"
    one, two = (_random(layers, name, seed) for seed, name in enumerate(("one", "two")))
    try:
        together, first, second = (_said(model, layers, forward, pair) for pair in ((one, two), (one, one), (two, two)))
    except (ModelError, ValueError, RuntimeError, IndexError) as error:
        return str(error).strip().split("\n")[0]
    finally:
        put_beside(layers, [], Rows(1, model.device))
    first_A1 = torch.tensor([_PROMPTS[row][0] == 0 for row in _ROWS], device=model.device)[:, None]
    off = float((together - torch.where(first_A1, first, second)).norm())
    apart = float((first - second).norm())
    if off <= _TOLERANCE.get(model.dtype, _OF_HALF) * apart:
        return ""
    return f"side by side they differ from what they are alone by {off / apart:.2g} of what tells them apart"


def _said(model: Any, layers: Layers, forward: Forward, adapters: Sequence[Adapter]) -> Tensor:
    """Log-probabilities (S, A, V) of calls of two policies, each with its own of these adapters."""
    rows = Rows(len(adapters), model.device)
    put_beside(layers, adapters, rows)
    owners = Owners([policy for policy, _ in _PROMPTS], rows.set)
    decoding = forward.start(model, [prompt for _, prompt in _PROMPTS], _ROWS, _STEPS, owners)
    last_A = torch.tensor([_PROMPTS[row][1][-1] for row in _ROWS], device=model.device)
    return torch.stack([torch.log_softmax(decoding.logits(last_A + step), dim=-1) for step in range(_STEPS)])


def _random(layers: Layers, policy: str, seed: int) -> Adapter:
    """An adapter of all layers, about as large as their weights."""
    source, tensors = np.random.default_rng(seed), dict[str, Tensor]()
    for path, layer in layers.items():
        inputs, outputs = sizes_of(layer)
        shapes = zip(tensor_names(path), ((_RANK, inputs), (outputs, _RANK)), (inputs, 16 * _RANK), strict=True)
        for name, shape, squared in shapes:
            values = source.standard_normal(shape, dtype=np.float32) / np.sqrt(squared, dtype=np.float32)
            tensors[name] = torch.from_numpy(values).to(layer.weight.device)
    return Adapter(policy=policy, version=0, scale=1.0, tensors=tensors)
