"""In which numbers adapters are computed: stored in float32, multiplied in the numbers of their base."""

from typing import Any

import torch
from peft.tuners.lora import LoraLayer


def compute_like_base(model: Any) -> None:
    """Adapters on a base of half precision leave their inputs as they are: see `like_base`."""
    if model.dtype != torch.float32:
        for module in model.modules():
            if isinstance(module, LoraLayer):
                module.cast_input_dtype_enabled = False


def like_base(model: Any) -> torch.autocast:
    """Where products of float32 weights are computed in the numbers of the base.

    Else a GPU would spend more time on small float32 products, and on copies of everything in float32, than on the
    base. Gradients are float32, since the weights are.
    """
    half = model.dtype != torch.float32
    return torch.autocast(model.device.type, dtype=model.dtype if half else None, enabled=half)
