"""Which kernels compute a model."""

import logging
from functools import cache

import torch

from counterpoint.forwards._cpu import Cpu
from counterpoint.forwards._eager import Eager
from counterpoint.forwards._fused import Fused, Passes
from counterpoint.forwards._kernels import Kernels
from counterpoint.forwards._trial import why_not

_LOG = logging.getLogger(__name__)


def kernels_of(device: torch.device, dtype: torch.dtype) -> Kernels:
    """The fastest kernels for models on that device and of that data type."""
    return Fused(passes_of(device, dtype))


def passes_of(device: torch.device, dtype: torch.dtype) -> Passes:
    """The fastest passes that are right on that device and for numbers of that type."""
    if device.type == "cuda":
        return _on_a_gpu(device, dtype)
    return Cpu() if device.type == "cpu" else Eager()


@cache
def _on_a_gpu(device: torch.device, dtype: torch.dtype) -> Passes:
    try:
        from counterpoint.forwards._triton import Triton
    except (ImportError, OSError, RuntimeError) as error:  # it loads a driver when it is imported
        return _told(str(error))
    return tried(Triton(), device, dtype)


def tried(passes: Passes, device: torch.device, dtype: torch.dtype) -> Passes:
    """`passes`, or torch's own if they cannot be used there, which is logged."""
    reason = why_not(passes, device, dtype)
    return _told(reason) if reason else passes


def _told(reason: str) -> Passes:
    _LOG.warning("norms, rotations and gates take longer, since Triton cannot be used: %s", reason)
    return Eager()
