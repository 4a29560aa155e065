"""RMS norms as one fused kernel each. The implementation in transformers launches seven small kernels on a GPU."""

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import rms_norm

_TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}


def fuse_norms(model: Any) -> None:
    """On a GPU, replace every norm of `model` that agrees with torch's `rms_norm` by it. On a CPU, do nothing."""
    if model.device.type == "cuda":
        for module in model.modules():
            if is_rms_norm(module):
                module.forward = partial(_normalised, module)


@torch.no_grad()
def is_rms_norm(module: Any) -> bool:
    """True if `module` computes weight * x / sqrt(mean(x^2) + epsilon), which is tested on some values of x."""
    weight, epsilon = getattr(module, "weight", None), getattr(module, "variance_epsilon", None)
    if epsilon is None or weight is None or weight.dim() != 1:
        return False
    ramp = torch.linspace(-3.0, 5.0, 3 * len(weight), device=weight.device).to(weight.dtype)
    given = ramp[torch.arange(3 * len(weight), device=weight.device) * 7 % (3 * len(weight))].view(3, -1)
    tolerance = _TOLERANCE.get(weight.dtype, 0.0)
    return torch.allclose(module(given), _normalised(module, given), rtol=tolerance, atol=tolerance)


def _normalised(module: Any, hidden: Tensor) -> Tensor:
    return rms_norm(hidden, (hidden.shape[-1],), module.weight, module.variance_epsilon)
