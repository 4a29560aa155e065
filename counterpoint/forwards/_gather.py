"""Rows gathered by their places, with a gradient that is the same in every process.

torch adds the gradients of rows that were gathered more than once in the order in which a GPU's threads come to them,
and rounds after each. Here they are added in float32, in the order of the gathered rows.

Shapes: N rows, M of them gathered, L = N + 1.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from counterpoint.forwards._choice import passes_of


@dataclass(frozen=True, slots=True)
class Places:
    """The rows that are gathered, and for each row where it was gathered to."""

    places_M: Tensor
    order_M: Tensor
    """The gathered rows sorted by the place that they come from."""
    ends_L: Tensor
    """Those from place n are `order_M[ends_L[n]:ends_L[n + 1]]`."""


def places_of(places: np.ndarray, rows: int, device: torch.device) -> Places:
    """The places of some gathered rows, one-dimensional, among `rows` rows."""
    order = np.argsort(places, kind="stable")
    ends = np.cumsum([0, *np.bincount(places, minlength=rows)], dtype=np.int64)
    return Places(*(torch.from_numpy(one).to(device) for one in (places, order, ends)))


def gathered(x: Tensor, places: Places) -> Tensor:
    """`x` (N, ...) at the places (M, ...)."""
    rows_NX = x.reshape(len(x), -1)
    found: Tensor = _Gathered.apply(rows_NX, places)  # type: ignore[no-untyped-call]
    return found.view(-1, *x.shape[1:])


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_NX: Tensor, places: Places) -> Tensor:
        ctx.places = places
        return passes_of(x_NX.device, x_NX.dtype).taken(x_NX, places.places_M)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope_MX: Tensor) -> tuple[Tensor, None]:
        passes = passes_of(slope_MX.device, slope_MX.dtype)
        return passes.summed(slope_MX, ctx.places.order_M, ctx.places.ends_L), None
