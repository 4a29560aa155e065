"""Which kernels compute a model."""

import logging
from functools import cache

import torch

from counterpoint.forwards._eager import Eager
from counterpoint.forwards._fused import Fused, Passes
from counterpoint.forwards._kernels import Kernels

_LOG = logging.getLogger(__name__)


def kernels_of(device: torch.device, dtype: torch.dtype) -> Kernels:
    """The fastest kernels for models on that device and of that data type."""
    return Fused(passes_of(device))


def passes_of(device: torch.device) -> Passes:
    """The fastest passes on that device."""
    return _on_a_gpu(device) if device.type == "cuda" else Eager()


@cache
def _on_a_gpu(device: torch.device) -> Passes:
    """Those of Triton if they can be compiled, which needs a C compiler too; else those of torch."""
    try:
        from counterpoint.forwards._triton import Triton

        given = torch.ones(2, 8, device=device)
        Triton().gated(given, given)
    except Exception as error:  # whatever the reason is: what a toolchain lacks is told in many ways
        reason = str(error).strip().split("\n")[0]
        _LOG.warning("Triton cannot be used, so norms, rotations and gates take longer: %s", reason)
        return Eager()
    return Triton()
