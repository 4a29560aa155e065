"""Decoding steps recorded as a CUDA graph and replayed.

The kernels of a decoding step are short; launched one by one from Python they leave the GPU idle in between.
"""

import gc
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

_WARM_UP = 1
"""Steps computed normally before one is recorded: lazy initialisation must not happen during the recording."""
_LOG = logging.getLogger(__name__)

Compute = Callable[[], None]
"""A computation that reads and writes the same tensors every time."""


class Replay:
    """Runs a computation of fixed shapes: normally at first, then by replaying its recorded CUDA graph.

    If it cannot be recorded, because it copies a tensor to the CPU for example, a warning is logged and every call
    computes normally.
    """

    def __init__(self) -> None:
        self._normal_left: float = _WARM_UP
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, compute: Compute, device: torch.device) -> None:
        """Run `compute` on `device`."""
        if self._normal_left:
            self._normal_left -= 1
            return compute()
        if self._graph is None and not self._record(compute, device):
            self._normal_left = math.inf
            return compute()
        assert self._graph is not None
        self._graph.replay()

    def forget(self) -> None:
        """Discard the graph, since shapes change. A computation that could not be recorded is not tried again."""
        self._graph = None
        if self._normal_left != math.inf:
            self._normal_left = _WARM_UP

    def _record(self, compute: Compute, device: torch.device) -> bool:
        """Record `compute`; True on success. It is not stored: the reference cycle would keep tensors alive."""
        graph = torch.cuda.CUDAGraph()
        try:
            with (
                _no_garbage_collection(),
                torch.cuda.device(device),
                torch.cuda.graph(graph, capture_error_mode="thread_local"),
            ):
                compute()
        except RuntimeError as error:
            _LOG.warning(
                "decoding steps cannot be recorded as a CUDA graph and take longer: %s", str(error).split("\n")[0]
            )
            return False
        self._graph = graph
        return True


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Disable garbage collection: freeing a CUDA graph while another is recorded invalidates the recording."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
