"""Time steps of state space layers, limited alike in every way to compute them.

Some Mamba-2 layers (those of Nemotron-H and Zamba2) limit their time steps to dt >= dt_min in a pass over a sequence,
but not in a cached step of one token, so that what is sampled is not what is scored.
"""

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor


def limit_time_steps(model: Any) -> None:
    """Every way to compute `model` keeps the limits of its layers' time steps; a full pass gives the same as before.

    softplus(d + bias) >= m is the same as d >= log(exp(m) - 1) - bias, so the projection that yields d is limited, of
    which a full pass limits the result once more.
    """
    for module in model.modules():
        limits = getattr(module, "time_step_limit", None)
        if limits is None or (limits[0] <= 0.0 and limits[1] == math.inf):
            continue
        if hasattr(module, "dt_bias") and hasattr(module, "in_proj") and not hasattr(module, "mup_vector"):
            module.in_proj.register_forward_hook(partial(_limited, module))


def _limited(layer: Any, _projection: Any, _inputs: Any, output: Tensor) -> Tensor:
    """The output of the layer's projection, whose last values, one per head, are the raw time steps d."""
    bias_H = layer.dt_bias.float()
    lowest_H, highest_H = (_inverse_softplus(limit) - bias_H for limit in layer.time_step_limit)
    steps = output[..., -len(bias_H) :]
    return torch.cat([output[..., : -len(bias_H)], steps.clamp(lowest_H.to(steps), highest_H.to(steps))], dim=-1)


def _inverse_softplus(value: float) -> float:
    if value <= 0.0:
        return -math.inf
    return math.log(math.expm1(value)) if value < 20.0 else value
