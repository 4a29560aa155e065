"""The passes of `Fused` on a CPU: as few reads and writes of memory as torch's own operations allow.

Shapes: N tokens, E hidden values, F values of the MLP, H heads, D values per head.
"""

import torch
from torch import Tensor
from torch.nn.functional import silu

from counterpoint.forwards._eager import Eager


class Cpu(Eager):
    """Each pass in float32, in place where it can be, and rounded at its end."""

    name = "cpu"

    def normed(self, x_NE: Tensor, weight_E: Tensor, epsilon: float) -> Tensor:
        wide_NE = x_NE.float()
        return torch.mul(wide_NE, _root(wide_NE, epsilon)).mul_(weight_E).to(x_NE.dtype)

    def normed_back(
        self, slope_NE: Tensor, x_NE: Tensor, weight_E: Tensor, epsilon: float, beside_NE: Tensor | None
    ) -> Tensor:
        pull_NE, root_N1 = _before_root(slope_NE.float() * weight_E, x_NE.float(), epsilon)
        found_NE = pull_NE.mul_(root_N1) if beside_NE is None else torch.addcmul(beside_NE, pull_NE, root_N1)
        return found_NE.to(x_NE.dtype)

    def turned(self, x_NHD: Tensor, weight_D: Tensor | None, epsilon: float, cos_ND: Tensor, sin_ND: Tensor) -> Tensor:
        wide_NHD, own = x_NHD.float(), _weight(weight_D, cos_ND)
        # The weight goes to cosine and sine, which are smaller than the heads together.
        turned_NHD = _turned(wide_NHD, cos_ND * own, _minus_first(sin_ND) * own.roll(own.shape[-1] // 2, -1))
        if weight_D is not None:
            turned_NHD.mul_(_root(wide_NHD, epsilon))
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
        half, own = cos_ND.shape[-1] // 2, _weight(weight_D, cos_ND)
        pull_NHD = _turned(slope_NHD.float(), cos_ND * own, _minus_first(sin_ND).roll(half, -1) * own)
        if x_NHD is not None and weight_D is not None:
            pull_NHD, root_NH1 = _before_root(pull_NHD, x_NHD.float(), epsilon)
            pull_NHD.mul_(root_NH1)
        return pull_NHD.to(slope_NHD.dtype)

    def gated_back(self, slope_NF: Tensor, gate_NF: Tensor, up_NF: Tensor) -> tuple[Tensor, Tensor]:
        gate, up, slope = gate_NF.float(), up_NF.float(), slope_NF.float()
        of_up = silu(gate).mul_(slope)
        of_gate: Tensor = torch.ops.aten.silu_backward(slope * up, gate)
        return of_gate.to(gate_NF.dtype), of_up.to(up_NF.dtype)


def _root(x: Tensor, epsilon: float) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return lengths.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()


def _before_root(pull: Tensor, x: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """The gradient of a norm's input divided by the root, in place of the pull, and the root.

    With the pull g at the normed values before their weight it is g - x * root^2 * mean(g * x).
    """
    root = _root(x, epsilon)
    along = (pull * x).sum(dim=-1, keepdim=True).mul_(root).mul_(root)
    return pull.addcmul_(x, along, value=-1 / x.shape[-1]), root


def _weight(weight_D: Tensor | None, like_ND: Tensor) -> Tensor:
    return like_ND.new_ones(like_ND.shape[-1]) if weight_D is None else weight_D.float()


def _minus_first(sin_ND: Tensor) -> Tensor:
    """The sines with which the other half of a head's values is multiplied."""
    wide_ND = sin_ND.float()
    half = wide_ND.shape[-1] // 2
    return torch.cat([-wide_ND[:, :half], wide_ND[:, half:]], dim=-1)


def _turned(x_NHD: Tensor, own_ND: Tensor, other_ND: Tensor) -> Tensor:
    """Each value times its own factor, and that of the other half times the other factor."""
    half = x_NHD.shape[-1] // 2
    own_N1D, other_N1D = own_ND[:, None], other_ND[:, None]
    turned_NHD = x_NHD * own_N1D
    turned_NHD[..., :half].addcmul_(x_NHD[..., half:], other_N1D[..., :half])
    turned_NHD[..., half:].addcmul_(x_NHD[..., :half], other_N1D[..., half:])
    return turned_NHD
