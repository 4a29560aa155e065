"""Linear layers with a LoRA adapter: y = x W^T + bias + scale * (x A^T) B^T.

Sampler and learner compute their adapted layers with the same function, so that what is sampled is what is learned.

Shapes: N tokens, I input values, O output values, R the rank.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import linear
from transformers.pytorch_utils import Conv1D

from counterpoint.targets import targets_of


def adapted_linear(
    x_NI: Tensor, weight_OI: Tensor, bias_O: Tensor | None, a_RI: Tensor, b_OR: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """The output y (N, O) and x A^T (N, R), in the dtype of `x_NI`; the adapter is cast to that dtype first.

    In half precision the base's product is added to the adapter's, so that base and adapter are rounded together, once.
    """
    between_NR = x_NI @ a_RI.to(x_NI.dtype).T
    b_RO = b_OR.to(x_NI.dtype).T
    # addmm_ adds a product to y in place: a separate sum would read and write y once more.
    if not is_half(x_NI.dtype):
        return linear(x_NI, weight_OI, bias_O).addmm_(between_NR, b_RO, alpha=scale), between_NR
    # x W^T rounded by itself would lie on the grid of its dtype, and an adapter that adds less than half a grid step
    # would change no output at all, as it would change no weight if it were merged. A product sums in float32, together
    # with what it is added to. The bias comes last: it lies on the grid too.
    y_NO = x_NI.new_empty(len(x_NI), len(weight_OI)).addmm_(between_NR, b_RO, beta=0, alpha=scale)
    y_NO.addmm_(x_NI, weight_OI.T)
    return (y_NO if bias_O is None else y_NO.add_(bias_O)), between_NR


def is_half(dtype: torch.dtype) -> bool:
    """True for the floating-point types with fewer bits than float32."""
    return dtype.is_floating_point and dtype.itemsize < torch.float32.itemsize


class Computed(Protocol):
    """The computation of an adapted layer."""

    def __call__(self, x_NI: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
        """The output (N, O) for these inputs; `weight_OI` and `bias_O` are the layer's own."""
        ...


@dataclass(frozen=True, slots=True)
class OneAdapter:
    """The same adapter for every row."""

    a_RI: Tensor
    b_OR: Tensor
    scale: float

    def __call__(self, x_NI: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
        return adapted_linear(x_NI, weight_OI, bias_O, self.a_RI, self.b_OR, self.scale)[0]


class AdaptedLinear(torch.nn.Linear):
    """A linear layer whose adapter can be exchanged; without one it is an ordinary layer. For inference only."""

    adapter: Computed | None

    def forward(self, x: Tensor) -> Tensor:
        if self.adapter is None:
            return super().forward(x)
        return self.adapter(x.reshape(-1, x.shape[-1]), self.weight, self.bias).view(*x.shape[:-1], -1)


class AdaptedConv1D(Conv1D):  # type: ignore[misc]  # transformers has no types here
    """The same for the layers of GPT-2, which store their weight transposed: x W + bias."""

    adapter: Computed | None

    def forward(self, x: Tensor) -> Tensor:
        if self.adapter is None:
            usual: Tensor = super().forward(x)
            return usual
        return self.adapter(x.reshape(-1, x.shape[-1]), self.weight.T, self.bias).view(*x.shape[:-1], -1)


def make_adaptable(model: Any) -> dict[str, AdaptedLinear | AdaptedConv1D]:
    """Make the adapters of all layers that get some exchangeable; return these layers by module path.

    The layers remain the same objects with the same weights: nothing is copied.
    """
    found: dict[str, AdaptedLinear | AdaptedConv1D] = {}
    for path in targets_of(model).layers:
        module = model.get_submodule(path)
        module.__class__ = AdaptedConv1D if isinstance(module, Conv1D) else AdaptedLinear
        module.adapter = None
        found[path] = module
    return found
