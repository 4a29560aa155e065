"""One AdamW per policy, on the policy's own clock."""

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from counterpoint.config import TrainingSettings


def learning_rate(settings: TrainingSettings, *, step: int, steps: int) -> float:
    """The learning rate of step `step` of `steps`, counted from 1 on the policy's own clock.

    It rises linearly over `warmup` steps, then stays, or falls linearly or as a half cosine, to reach zero after the
    last step.
    """
    if step <= settings.warmup:
        return settings.learning_rate * step / settings.warmup
    part = (step - 1 - settings.warmup) / max(1, steps - settings.warmup)
    match settings.schedule:
        case "linear":
            return settings.learning_rate * (1 - part)
        case "cosine":
            return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * part))
        case _:
            return settings.learning_rate


def adamw(parameters: Mapping[str, torch.nn.Parameter], settings: TrainingSettings) -> torch.optim.AdamW:
    """An optimizer over exactly these parameters, for as long as the run lasts."""
    return torch.optim.AdamW(
        list(parameters.values()),
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        weight_decay=settings.weight_decay,
        foreach=True,
    )


def save_moments(path: Path, optimizer: torch.optim.AdamW, parameters: Mapping[str, torch.nn.Parameter]) -> None:
    """`path` (safetensors) holds the moments and step counts, named after their parameters."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in parameters.items():
        for part, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{name}/{part}"] = value.detach().clone().contiguous()
    save_file(tensors, path)


def load_moments(path: Path, optimizer: torch.optim.AdamW, parameters: Mapping[str, torch.nn.Parameter]) -> None:
    """The optimizer's state is what `save_moments` saw. Raises KeyError if a name is not one of `parameters`."""
    optimizer.state.clear()
    for key, value in load_file(path).items():
        name, _, part = key.rpartition("/")
        parameter = parameters[name]
        place = value if part == "step" else value.to(parameter.device)
        optimizer.state[parameter][part] = place
