"""Adapted linear layers of the learner, computed in few passes over their values.

Adapters are stored in float32, multiplied in the dtype of their base, and have gradients in float32.

Shapes: N tokens, I values in, O values out, R values between (the rank).
"""

from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import Tensor
from torch.autograd.function import once_differentiable
from transformers.pytorch_utils import Conv1D

from counterpoint.forwards._linear import multiplied
from counterpoint.forwards.adapted import adapted_linear
from counterpoint.targets import is_adaptable


def fuse_adapters(model: Any) -> None:
    """PEFT's adapted linear layers in `model` compute base and adapter together from here on, with the same result."""
    for module in model.modules():
        if type(module) is Linear and is_adaptable(module.get_base_layer()):
            module.__class__ = _FusedLinear


class _FusedLinear(Linear):  # type: ignore[misc]  # PEFT has no types
    """PEFT's layer, which leaves everything but a single plain adapter on a frozen base to PEFT's own forward pass."""

    def forward(self, x: Tensor, *args: Any, **options: Any) -> Tensor:
        base, name = self.get_base_layer(), None if args or options else _alone(self)
        x_NI = x.reshape(-1, x.shape[-1])
        weight_OI = base.weight.T if isinstance(base, Conv1D) else base.weight
        if name is None:
            if not (args or options) and _is_left_out(self) and _merges(x_NI, weight_OI):
                # By the same library as with an adapter, so that one that adds nothing is bit for bit its base.
                return multiplied(x_NI, weight_OI, base.bias).view(*x.shape[:-1], -1)
            usual: Tensor = super().forward(x, *args, **options)
            return usual
        a_RI, b_OR = self.lora_A[name].weight, self.lora_B[name].weight
        function = _Merged if _merges(x_NI, weight_OI) else _Adapted
        # Its shape is restored out here: some models write into what a layer returns, which autograd forbids for a view
        # that was made inside a function.
        found: Tensor = function.apply(x_NI, weight_OI, base.bias, a_RI, b_OR, self.scaling[name])  # type: ignore[no-untyped-call]
        return found.view(*x.shape[:-1], -1)


def _alone(layer: Any) -> str | None:
    """The name of the one adapter that the layer adds to its frozen base; None if the layer has anything else to do."""
    active = [name for name in layer.active_adapters if name in layer.lora_A]
    if layer.disable_adapters or layer.merged or len(active) != 1:
        return None
    (name,) = active
    plain = isinstance(layer.lora_dropout[name], torch.nn.Identity) and name not in layer.lora_variant
    frozen = not any(parameter.requires_grad for parameter in layer.get_base_layer().parameters())
    return name if plain and frozen and not layer.lora_bias[name] else None


def _is_left_out(layer: Any) -> bool:
    """True if the layer computes its base alone, and nothing is differentiated."""
    return layer.disable_adapters and not layer.merged and not torch.is_grad_enabled()


def _merges(x_NI: Tensor, weight_OI: Tensor) -> bool:
    """True where it takes less time to merge the adapter into the weights than to multiply every token with it.

    That is on a CPU, in float32, with more tokens than the layer has values in and out. A half-precision weight would
    lose small updates.
    """
    return x_NI.device.type == "cpu" and x_NI.dtype == torch.float32 and len(x_NI) >= sum(weight_OI.shape)


class _Merged(torch.autograd.Function):
    """y = x (W + scale * B A)^T + bias. For the backward pass x and the weights are kept, and W + scale * B A is not.

    With g = dl/dy: dl/dx = g (W + scale * B A), dl/dA = scale * (g B)^T x, dl/dB = scale * g^T (x A^T).
    """

    @staticmethod
    def forward(
        ctx: Any, x_NI: Tensor, weight_OI: Tensor, bias_O: Tensor | None, a_RI: Tensor, b_OR: Tensor, scale: float
    ) -> Tensor:
        ctx.save_for_backward(x_NI, weight_OI, a_RI, b_OR)
        ctx.scale = scale
        return multiplied(x_NI, torch.addmm(weight_OI, b_OR, a_RI, alpha=scale), bias_O)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_NO: Tensor) -> tuple[Tensor | None, ...]:
        x_NI, weight_OI, a_RI, b_OR = ctx.saved_tensors
        of_x, _, _, of_a, of_b, _ = ctx.needs_input_grad
        found_x = found_RI = found_OR = None
        if of_x:
            found_x = multiplied(gradient_NO, torch.addmm(weight_OI, b_OR, a_RI, alpha=ctx.scale).T)
        if of_a:
            found_RI = (multiplied(gradient_NO, b_OR.T).T @ x_NI).mul_(ctx.scale)
        if of_b:
            # Transposed, because a product with few rows is faster than one with few columns.
            found_OR = (multiplied(x_NI, a_RI).T @ gradient_NO).T.mul(ctx.scale)
        return found_x, None, None, found_RI, found_OR, None


class _Adapted(torch.autograd.Function):
    """y = x W^T + bias + scale * (x A^T) B^T. For the backward pass x, x A^T and the weights are kept.

    With g = dl/dy: dl/dx = g W + scale * (g B) A, dl/dA = scale * (g B)^T x, dl/dB = scale * g^T (x A^T). The base is
    frozen, so W and the bias have no gradient, and autograd would keep the result of each of the four products.
    """

    @staticmethod
    def forward(
        ctx: Any, x_NI: Tensor, weight_OI: Tensor, bias_O: Tensor | None, a_RI: Tensor, b_OR: Tensor, scale: float
    ) -> Tensor:
        y_NO, between_NR = adapted_linear(x_NI, weight_OI, bias_O, a_RI, b_OR, scale)
        ctx.save_for_backward(x_NI, between_NR, weight_OI, a_RI, b_OR)
        ctx.scale = scale
        return y_NO

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_NO: Tensor) -> tuple[Tensor | None, ...]:
        x_NI, between_NR, weight_OI, a_RI, b_OR = ctx.saved_tensors
        of_x, _, _, of_a, of_b, _ = ctx.needs_input_grad
        # scale * g B is a factor of both dl/dx and dl/dA, so it is computed once.
        pull_NR = (gradient_NO @ b_OR.to(gradient_NO.dtype)).mul_(ctx.scale)
        found_x = found_RI = found_OR = None
        if of_x:
            found_x = (gradient_NO @ weight_OI).addmm_(pull_NR, a_RI.to(gradient_NO.dtype))
        if of_a:
            found_RI = (pull_NR.T @ x_NI).to(a_RI.dtype)
        if of_b:
            found_OR = (gradient_NO.T @ between_NR).to(b_OR.dtype).mul_(ctx.scale)
        return found_x, None, None, found_RI, found_OR, None
