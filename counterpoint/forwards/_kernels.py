"""The computations of a decoder layer that are not matrix products, each as one function.

A layer of the usual kind (`_layers.py`) is computed with these. Every implementation of `Kernels` gives the values and
the gradients of `Plain` up to rounding; gradients flow to everything but weights and epsilon, which are frozen.

Shapes: N tokens, E hidden values, F values of the MLP, H query heads, K key heads, D values per head; m rows of logits,
V vocabulary.
"""

from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import silu


class Kernels(Protocol):
    """One way to compute them."""

    name: str

    def normed(self, x_NE: Tensor, weight_E: Tensor, epsilon: float) -> Tensor:
        """The norm: weight * x / sqrt(mean(x^2) + epsilon), the root in float32."""
        ...

    def added_and_normed(self, x_NE: Tensor, y_NE: Tensor, weight_E: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
        """The sum x + y, and its norm."""
        ...

    def turned(self, x_NHD: Tensor, weight_D: Tensor | None, epsilon: float, cos_ND: Tensor, sin_ND: Tensor) -> Tensor:
        """Queries or keys, normed per head where there is a weight, and then turned to their positions.

        The first half of the values of a head turns with the second: x * cos + (-second, first) * sin.
        """
        ...

    def gated(self, gate_NF: Tensor, up_NF: Tensor) -> Tensor:
        """silu(gate) * up."""
        ...

    def chosen(self, logits_mV: Tensor, targets_m: Tensor, temperatures_m: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities (m) of the targets in float32, and (onehot - softmax) / temperature in the logits' dtype.

        May write into `logits_mV`. Nothing is differentiated through it.
        """
        ...


class Plain:
    """As transformers computes them: the reference of every other implementation."""

    name = "plain"

    def normed(self, x_NE: Tensor, weight_E: Tensor, epsilon: float) -> Tensor:
        wide = x_NE.float()
        return weight_E * (wide * torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + epsilon)).to(x_NE.dtype)

    def added_and_normed(self, x_NE: Tensor, y_NE: Tensor, weight_E: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
        sum_NE = x_NE + y_NE
        return sum_NE, self.normed(sum_NE, weight_E, epsilon)

    def turned(self, x_NHD: Tensor, weight_D: Tensor | None, epsilon: float, cos_ND: Tensor, sin_ND: Tensor) -> Tensor:
        if weight_D is not None:
            x_NHD = self.normed(x_NHD, weight_D, epsilon)
        first, second = x_NHD.chunk(2, dim=-1)
        return x_NHD * cos_ND[:, None] + torch.cat([-second, first], dim=-1) * sin_ND[:, None]

    def gated(self, gate_NF: Tensor, up_NF: Tensor) -> Tensor:
        return silu(gate_NF) * up_NF

    def chosen(self, logits_mV: Tensor, targets_m: Tensor, temperatures_m: Tensor) -> tuple[Tensor, Tensor]:
        logprobs_mV = torch.log_softmax(logits_mV.float() / temperatures_m[:, None], dim=-1)
        found_m = logprobs_mV.gather(1, targets_m[:, None])[:, 0]
        pull_mV = logprobs_mV.exp_().neg_()
        pull_mV.scatter_add_(1, targets_m[:, None], torch.ones_like(pull_mV[:, :1]))
        return found_m, pull_mV.div_(temperatures_m[:, None]).to(logits_mV.dtype)
