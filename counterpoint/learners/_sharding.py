"""A frozen base of which each rank keeps a part (FSDP2), for bases that one GPU does not hold."""

from collections.abc import Iterable
from typing import Any

import torch
from transformers.modeling_layers import GradientCheckpointingLayer

from counterpoint.errors import LearnerError
from counterpoint.forwards._layers import unfuse_layers
from counterpoint.forwards.base import Forward
from counterpoint.learners._split import Split


def shard_layers(model: Any, forward: Forward, adapters: Iterable[torch.nn.Parameter], split: Split) -> None:
    """Each rank keeps its part of the layers of `model`, which are gathered one at a time, in every pass.

    Adapters stay whole on every rank: their gradients are summed once per role, not per layer, and may have another
    dtype than the base. So do embedding, last norm and head. The layers are computed as transformers computes them,
    which takes longer: FSDP waits for them to be called. From here on all ranks must make the same passes. Call it
    after the adapters were put in. Raises LearnerError if there is one rank, if the model has no layers that can be
    sharded, or if `forward` is plain.
    """
    # Here and not above: few runs need it, and it takes long to import.
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    if split.count < 2:
        raise LearnerError("shard_base needs at least 2 ranks")
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise LearnerError("shard_base: this model has no layers that can be sharded")
    if forward.name == "plain":
        raise LearnerError("shard_base needs the packed way to compute, which this model cannot have")
    unfuse_layers(model)
    mesh, whole = init_device_mesh(model.device.type, (split.count,)), set(adapters)
    for layer in layers:
        fully_shard(layer, mesh=mesh, reshard_after_forward=True, ignored_params=whole)
