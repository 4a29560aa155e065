"""Which kernels compute a model."""

import logging
from functools import cache

import torch

from counterpoint.forwards._cpu import Cpu
from counterpoint.forwards._eager import Eager
from counterpoint.forwards._fused import Fused, Passes
from counterpoint.forwards._kernels import Kernels

_LOG = logging.getLogger(__name__)


def kernels_of(device: torch.device, dtype: torch.dtype) -> Kernels:
    """The fastest kernels for models on that device and of that data type."""
    return Fused(passes_of(device))


def passes_of(device: torch.device) -> Passes:
    """The fastest passes on that device."""
    if device.type == "cuda":
        return _on_a_gpu()
    return Cpu() if device.type == "cpu" else Eager()


@cache
def _on_a_gpu() -> Passes:
    try:
        from counterpoint.forwards._triton import Triton
    except ImportError as error:
        _LOG.warning("Triton cannot be imported, so norms, rotations and gates take longer: %s", error)
        return Eager()
    return Triton()
