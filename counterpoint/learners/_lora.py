"""Adapted linear layers computed in as few passes over their values as can be.

Adapters are stored in float32, multiplied in the numbers of their base, and have gradients in float32.

Shapes: N tokens, I values in, O values out, R values between (the rank).
"""

from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear


def fuse_adapters(model: Any) -> None:
    """The adapted linear layers of `model` compute base and adapter as one; what they give stays the same."""
    for module in model.modules():
        if type(module) is Linear and type(module.get_base_layer()) is torch.nn.Linear:
            module.__class__ = _FusedLinear


class _FusedLinear(Linear):  # type: ignore[misc]  # PEFT has no types
    """PEFT's layer, which goes PEFT's way wherever more is asked for than one plain adapter on a frozen base."""

    def forward(self, x: Tensor, *args: Any, **options: Any) -> Tensor:
        name = None if args or options else _alone(self)
        if name is None:
            usual: Tensor = super().forward(x, *args, **options)
            return usual
        base, a_RI, b_OR = self.get_base_layer(), self.lora_A[name].weight, self.lora_B[name].weight
        found: Tensor = _Adapted.apply(x, base.weight, base.bias, a_RI, b_OR, self.scaling[name])  # type: ignore[no-untyped-call]
        return found


def _alone(layer: Any) -> str | None:
    """The one adapter that the layer has to add to its frozen base; None if that is not all that it has to do."""
    active = [name for name in layer.active_adapters if name in layer.lora_A]
    if layer.disable_adapters or layer.merged or len(active) != 1:
        return None
    (name,) = active
    plain = isinstance(layer.lora_dropout[name], torch.nn.Identity) and name not in layer.lora_variant
    frozen = not any(parameter.requires_grad for parameter in layer.get_base_layer().parameters())
    return name if plain and frozen and not layer.lora_bias[name] else None


class _Adapted(torch.autograd.Function):
    """y = x W^T + bias + scale * (x A^T) B^T, of which x, x A^T, and the weights are kept."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight_OI: Tensor, bias_O: Tensor | None, a_RI: Tensor, b_OR: Tensor, scale: float
    ) -> Tensor:
        x_NI = x.reshape(-1, x.shape[-1])
        between_NR = x_NI @ a_RI.to(x.dtype).T
        y_NO = linear(x_NI, weight_OI, bias_O).addmm_(between_NR, b_OR.to(x.dtype).T, alpha=scale)
        ctx.save_for_backward(x_NI, between_NR, weight_OI, a_RI, b_OR)
        ctx.scale = scale
        return y_NO.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x_NI, between_NR, weight_OI, a_RI, b_OR = ctx.saved_tensors
        of_x, _, _, of_a, of_b, _ = ctx.needs_input_grad
        gradient_NO = gradient.reshape(-1, gradient.shape[-1])
        pull_NR = (gradient_NO @ b_OR.to(gradient.dtype)).mul_(ctx.scale)
        found_x = found_RI = found_OR = None
        if of_x:
            found_x = (gradient_NO @ weight_OI).addmm_(pull_NR, a_RI.to(gradient.dtype))
            found_x = found_x.view(*gradient.shape[:-1], -1)
        if of_a:
            found_RI = (pull_NR.T @ x_NI).to(a_RI.dtype)
        if of_b:
            found_OR = (gradient_NO.T @ between_NR).to(b_OR.dtype).mul_(ctx.scale)
        return found_x, None, None, found_RI, found_OR, None
