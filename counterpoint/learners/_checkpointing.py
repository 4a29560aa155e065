"""Layers computed twice so that they need not be remembered."""

from functools import partial
from typing import Any

from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from counterpoint.errors import LearnerError
from counterpoint.forwards.base import Forward


def checkpoint_layers(model: Any, forward: Forward) -> None:
    """The backward pass computes each layer of `model` again; of the forward pass only the layers' inputs are kept.

    Raises LearnerError if the model cannot do it, or if `forward` keeps a cache, which a layer can fill but once.
    """
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise LearnerError("learner.gradient_checkpointing: this model has no layers that can be computed twice")
    if forward.name == "plain":
        raise LearnerError(
            "learner.gradient_checkpointing needs the packed way to compute, which this model cannot have"
        )
    for layer in layers:
        layer.gradient_checkpointing = True
        layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)
        layer.training = True  # which it asks for; its parts stay in evaluation mode
