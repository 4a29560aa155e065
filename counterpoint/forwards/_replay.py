"""Steps on a GPU recorded once and replayed: the GPU then waits for no Python between one kernel and the next."""

import gc
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

_AS_IT_IS = 1
"""Steps before one is recorded, which wants everything to be warm."""
_LOG = logging.getLogger(__name__)

Compute = Callable[[Tensor], Tensor]


class Replay:
    """Some computation, always of the same shapes, with the same results: at first as it is, then replayed.

    Where it cannot be recorded, since it reads a tensor on the CPU for example, it is logged and goes on as it is.
    """

    def __init__(self) -> None:
        self._as_it_is: float = _AS_IT_IS
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, compute: Compute, given: Tensor) -> Tensor:
        """What `compute` makes of `given`. It is overwritten by the next call."""
        if self._as_it_is:
            self._as_it_is -= 1
            return compute(given)
        if self._graph is None and not self._record(compute, given):
            self._as_it_is = math.inf
            return compute(given)
        assert self._graph is not None
        self._given.copy_(given)
        self._graph.replay()
        return self._found

    def forget(self) -> None:
        """The shapes change: what was recorded is thrown away. What could not be recorded is not tried again."""
        self._graph = None
        if self._as_it_is != math.inf:
            self._as_it_is = _AS_IT_IS

    def _record(self, compute: Compute, given: Tensor) -> bool:
        """Whether it could be done. `compute` is not kept: a cycle would keep everything that it holds alive."""
        graph, self._given = torch.cuda.CUDAGraph(), given.clone()
        try:
            with (
                _no_garbage_collection(),
                torch.cuda.device(given.device),
                torch.cuda.graph(graph, capture_error_mode="thread_local"),
            ):
                self._found = compute(self._given)
        except RuntimeError as error:
            _LOG.warning("decoding steps cannot be recorded and take longer: %s", str(error).split("\n")[0])
            return False
        self._graph = graph
        return True


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """A graph that is thrown away while another is recorded would spoil it."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
