"""The passes of `Fused` in torch's own operations: where Triton is not, and where tensors have no values.

Shapes: N tokens, E hidden values, F values of the MLP, H heads, D values per head; m rows of logits, V vocabulary.
"""

import torch
from torch import Tensor

from counterpoint.forwards._kernels import Plain


class Eager:
    """Each pass in float32, rounded at its end."""

    name = "torch"

    def normed(self, x_NE: Tensor, weight_E: Tensor, epsilon: float) -> Tensor:
        wide_NE = x_NE.float()
        return (wide_NE * _root(wide_NE, epsilon) * weight_E).to(x_NE.dtype)

    def added_and_normed(self, x_NE: Tensor, y_NE: Tensor, weight_E: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
        sum_NE = x_NE + y_NE
        return sum_NE, self.normed(sum_NE, weight_E, epsilon)

    def normed_back(
        self, slope_NE: Tensor, x_NE: Tensor, weight_E: Tensor, epsilon: float, beside_NE: Tensor | None
    ) -> Tensor:
        found_NE = _before_norm(slope_NE.float(), x_NE.float(), weight_E, epsilon)
        return (found_NE if beside_NE is None else found_NE + beside_NE).to(x_NE.dtype)

    def turned(self, x_NHD: Tensor, weight_D: Tensor | None, epsilon: float, cos_ND: Tensor, sin_ND: Tensor) -> Tensor:
        wide_NHD = x_NHD.float()
        if weight_D is not None:
            wide_NHD = wide_NHD * _root(wide_NHD, epsilon) * weight_D
        first, second = wide_NHD.chunk(2, dim=-1)
        turned_NHD = wide_NHD * cos_ND[:, None] + torch.cat([-second, first], dim=-1) * sin_ND[:, None]
        return turned_NHD.to(x_NHD.dtype)

    def turned_back(
        self,
        slope_NHD: Tensor,
        x_NHD: Tensor | None,
        weight_D: Tensor | None,
        epsilon: float,
        cos_ND: Tensor,
        sin_ND: Tensor,
    ) -> Tensor:
        wide_NHD = slope_NHD.float()
        first, second = (wide_NHD * sin_ND[:, None]).chunk(2, dim=-1)
        found_NHD = wide_NHD * cos_ND[:, None] + torch.cat([second, -first], dim=-1)
        if x_NHD is not None and weight_D is not None:
            found_NHD = _before_norm(found_NHD, x_NHD.float(), weight_D, epsilon)
        return found_NHD.to(slope_NHD.dtype)

    def gated(self, gate_NF: Tensor, up_NF: Tensor) -> Tensor:
        return torch.nn.functional.silu(gate_NF).mul_(up_NF)

    def gated_back(self, slope_NF: Tensor, gate_NF: Tensor, up_NF: Tensor) -> tuple[Tensor, Tensor]:
        gate, up, slope = gate_NF.float(), up_NF.float(), slope_NF.float()
        open_NF = torch.sigmoid(gate)
        of_gate = slope * up * open_NF * (1 + gate * (1 - open_NF))
        return of_gate.to(gate_NF.dtype), (slope * gate * open_NF).to(up_NF.dtype)

    def chosen(self, logits_mV: Tensor, targets_m: Tensor, temperatures_m: Tensor) -> tuple[Tensor, Tensor]:
        return Plain().chosen(logits_mV, targets_m, temperatures_m)

    def taken(self, x_NX: Tensor, places_M: Tensor) -> Tensor:
        return x_NX.index_select(0, places_M)

    def summed(self, slope_MX: Tensor, order_M: Tensor, ends_L: Tensor) -> Tensor:
        ordered_MX = slope_MX.index_select(0, order_M).float()
        found: Tensor = torch.segment_reduce(ordered_MX, "sum", lengths=ends_L.diff(), unsafe=True, initial=0)
        return found.to(slope_MX.dtype)


def _root(x: Tensor, epsilon: float) -> Tensor:
    return torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + epsilon)


def _before_norm(slope: Tensor, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """The gradient of the norm's input: with u = x * root and g = slope * weight it is root * (g - u * mean(g * u))."""
    root = _root(x, epsilon)
    even, pull = x * root, slope * weight
    return root * (pull - even * (pull * even).mean(dim=-1, keepdim=True))
