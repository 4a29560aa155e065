"""Kernels with gradients of their own: each is one pass over its values, forward and backward, and keeps what it must.

Autograd would keep the result of every operation of a norm or a rotation. Here a norm keeps its input, from which the
backward pass computes the root again; a rotation without a norm keeps nothing but the angles.

Shapes: N tokens, E hidden values, F values of the MLP, H heads, D values per head; m rows of logits, V vocabulary.
"""

from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class Passes(Protocol):
    """The computations themselves, without autograd. All sums are in float32."""

    name: str

    def normed(self, x_NE: Tensor, weight_E: Tensor, epsilon: float) -> Tensor: ...

    def added_and_normed(
        self, x_NE: Tensor, y_NE: Tensor, weight_E: Tensor, epsilon: float
    ) -> tuple[Tensor, Tensor]: ...

    def normed_back(
        self, slope_NE: Tensor, x_NE: Tensor, weight_E: Tensor, epsilon: float, beside_NE: Tensor | None
    ) -> Tensor:
        """The gradient of the norm's input, to which `beside_NE` is added."""
        ...

    def turned(
        self, x_NHD: Tensor, weight_D: Tensor | None, epsilon: float, cos_ND: Tensor, sin_ND: Tensor
    ) -> Tensor: ...

    def turned_back(
        self,
        slope_NHD: Tensor,
        x_NHD: Tensor | None,
        weight_D: Tensor | None,
        epsilon: float,
        cos_ND: Tensor,
        sin_ND: Tensor,
    ) -> Tensor:
        """The gradient of the input. The input itself is needed only where there is a weight."""
        ...

    def gated(self, gate_NF: Tensor, up_NF: Tensor) -> Tensor: ...

    def gated_back(self, slope_NF: Tensor, gate_NF: Tensor, up_NF: Tensor) -> tuple[Tensor, Tensor]: ...

    def chosen(self, logits_mV: Tensor, targets_m: Tensor, temperatures_m: Tensor) -> tuple[Tensor, Tensor]: ...

    def taken(self, x_NX: Tensor, places_M: Tensor) -> Tensor:
        """The rows (M, X) of `x_NX` at `places_M`."""
        ...

    def summed(self, slope_MX: Tensor, order_M: Tensor, ends_L: Tensor) -> Tensor:
        """For each n the sum (N, X) of the rows at `order_M[ends_L[n]:ends_L[n + 1]]`, in this order; L = N + 1."""
        ...


class Fused:
    """Kernels that differentiate some passes. Where nothing is differentiated they are the passes themselves."""

    def __init__(self, passes: Passes) -> None:
        self._passes = passes
        self.name = passes.name

    def normed(self, x_NE: Tensor, weight_E: Tensor, epsilon: float) -> Tensor:
        if not torch.is_grad_enabled():
            return self._passes.normed(x_NE, weight_E, epsilon)
        found: Tensor = _Normed.apply(x_NE, weight_E, epsilon, self._passes)  # type: ignore[no-untyped-call]
        return found

    def added_and_normed(self, x_NE: Tensor, y_NE: Tensor, weight_E: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
        if not torch.is_grad_enabled():
            return self._passes.added_and_normed(x_NE, y_NE, weight_E, epsilon)
        sum_NE, normed_NE = _AddedAndNormed.apply(x_NE, y_NE, weight_E, epsilon, self._passes)  # type: ignore[no-untyped-call]
        return sum_NE, normed_NE

    def turned(self, x_NHD: Tensor, weight_D: Tensor | None, epsilon: float, cos_ND: Tensor, sin_ND: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return self._passes.turned(x_NHD, weight_D, epsilon, cos_ND, sin_ND)
        found: Tensor = _Turned.apply(x_NHD, weight_D, epsilon, cos_ND, sin_ND, self._passes)  # type: ignore[no-untyped-call]
        return found

    def gated(self, gate_NF: Tensor, up_NF: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return self._passes.gated(gate_NF, up_NF)
        found: Tensor = _Gated.apply(gate_NF, up_NF, self._passes)  # type: ignore[no-untyped-call]
        return found

    def chosen(self, logits_mV: Tensor, targets_m: Tensor, temperatures_m: Tensor) -> tuple[Tensor, Tensor]:
        return self._passes.chosen(logits_mV, targets_m, temperatures_m)


class _Normed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_NE: Tensor, weight_E: Tensor, epsilon: float, passes: Passes) -> Tensor:
        ctx.save_for_backward(x_NE, weight_E)
        ctx.epsilon, ctx.passes = epsilon, passes
        return passes.normed(x_NE, weight_E, epsilon)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope_NE: Tensor) -> tuple[Tensor, None, None, None]:
        x_NE, weight_E = ctx.saved_tensors
        return ctx.passes.normed_back(slope_NE, x_NE, weight_E, ctx.epsilon, None), None, None, None


class _AddedAndNormed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x_NE: Tensor, y_NE: Tensor, weight_E: Tensor, epsilon: float, passes: Passes
    ) -> tuple[Tensor, Tensor]:
        sum_NE, normed_NE = passes.added_and_normed(x_NE, y_NE, weight_E, epsilon)
        ctx.save_for_backward(sum_NE, weight_E)
        ctx.epsilon, ctx.passes = epsilon, passes
        ctx.set_materialize_grads(False)
        return sum_NE, normed_NE

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, beside_NE: Tensor | None, slope_NE: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        sum_NE, weight_E = ctx.saved_tensors
        found_NE = beside_NE
        if slope_NE is not None:
            found_NE = ctx.passes.normed_back(slope_NE, sum_NE, weight_E, ctx.epsilon, beside_NE)
        of_x, of_y, *_ = ctx.needs_input_grad
        return found_NE if of_x else None, found_NE if of_y else None, None, None, None


class _Turned(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x_NHD: Tensor,
        weight_D: Tensor | None,
        epsilon: float,
        cos_ND: Tensor,
        sin_ND: Tensor,
        passes: Passes,
    ) -> Tensor:
        ctx.save_for_backward(None if weight_D is None else x_NHD, weight_D, cos_ND, sin_ND)
        ctx.epsilon, ctx.passes = epsilon, passes
        return passes.turned(x_NHD, weight_D, epsilon, cos_ND, sin_ND)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope_NHD: Tensor) -> tuple[Tensor | None, ...]:
        x_NHD, weight_D, cos_ND, sin_ND = ctx.saved_tensors
        found_NHD = ctx.passes.turned_back(slope_NHD, x_NHD, weight_D, ctx.epsilon, cos_ND, sin_ND)
        return found_NHD, None, None, None, None, None


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate_NF: Tensor, up_NF: Tensor, passes: Passes) -> Tensor:
        ctx.save_for_backward(gate_NF, up_NF)
        ctx.passes = passes
        return passes.gated(gate_NF, up_NF)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope_NF: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        gate_NF, up_NF = ctx.saved_tensors
        found = ctx.passes.gated_back(slope_NF, gate_NF, up_NF)
        of_gate, of_up, _ = ctx.needs_input_grad
        return found[0] if of_gate else None, found[1] if of_up else None, None
