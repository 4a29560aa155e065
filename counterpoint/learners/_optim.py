"""One AdamW optimizer per policy, on the policy's own clock."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from counterpoint.config import PolicySettings, TrainingSettings
from counterpoint.errors import LearnerError
from counterpoint.learners.base import Gradient, Moved
from counterpoint.learners.gradient import FlatGradient, Parameters, flatten

MOMENTS_FILE = "optimizer.safetensors"
"""The state of a policy's optimizer, in the policy's folder of a checkpoint."""


class Optimizers:
    """The optimizers of several policies, and how often each has stepped."""

    def __init__(
        self, parameters: Mapping[str, Parameters], settings: Mapping[str, PolicySettings], *, steps: int
    ) -> None:
        """`steps` is the length of the run in training steps, from which the learning rates follow."""
        self._parameters = parameters
        self._settings = settings
        self._steps = steps
        self._trained = sum(one.trainable for one in settings.values())
        self.adamw = {name: adamw(parameters[name], settings[name]) for name in parameters}
        self.versions = dict.fromkeys(parameters, 0)
        """Policy -> the optimizer steps that it has taken."""

    def move(self, policy: str, gradient: Gradient, *, step: int, factor: float) -> Moved:
        """The policy has taken one optimizer step, at `factor` times its learning rate.

        Where that is 0, the moments have taken in the gradient, and the weights are bit-identical to before. Raises
        LearnerError if the gradient is not finite.
        """
        norm = gradient.norm()
        if not math.isfinite(norm):
            raise LearnerError(f"policy {policy!r}: the gradient of step {step} is not finite")
        settings, parameters = self._settings[policy], list(self._parameters[policy].values())
        if norm > settings.gradient_clip:
            gradient = gradient.scaled(settings.gradient_clip / norm)
        now, end = settings.update.clock(step), settings.update.clock(self._steps)
        rate = factor * learning_rate(settings, step=now, steps=end, policies=self._trained)
        before = flatten([parameter.detach() for parameter in parameters])
        self._step(policy, parameters, gradient, rate)
        if rate == 0.0:  # AdamW adds 0 then, which makes -0.0 to 0.0
            for parameter, kept in zip(parameters, FlatGradient(before).split(parameters), strict=True):
                parameter.data.copy_(kept)
        change = flatten([parameter.detach() for parameter in parameters]) - before
        return Moved(norm=norm, learning_rate=rate, change=float(torch.linalg.vector_norm(change)))

    def _step(self, policy: str, parameters: Sequence[torch.nn.Parameter], gradient: Gradient, rate: float) -> None:
        optimizer = self.adamw[policy]
        pieces = FlatGradient(gradient.vector()).split(parameters)
        for parameter, piece in zip(parameters, pieces, strict=True):
            parameter.grad = piece
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        # None and not zeros: AdamW moves whatever has a gradient by its momentum, be the gradient zero.
        optimizer.zero_grad(set_to_none=True)
        self.versions[policy] += 1

    def state(self, policy: str) -> list[Tensor]:
        """The moments and step counts of the policy's optimizer, in the order of its parameters."""
        state = self.adamw[policy].state
        return [
            state[parameter][name]
            for parameter in self._parameters[policy].values()
            for name in sorted(state.get(parameter, {}))
        ]

    def save(self, policy: str, folder: Path) -> None:
        """`folder` holds the state of the policy's optimizer."""
        save_moments(folder / MOMENTS_FILE, self.adamw[policy], self._parameters[policy])

    def load(self, policy: str, folder: Path) -> None:
        """The policy's optimizer is as it was saved. Raises OSError, SafetensorError or KeyError if it cannot be."""
        load_moments(folder / MOMENTS_FILE, self.adamw[policy], self._parameters[policy])
        self.versions[policy] = max((int(one["step"]) for one in self.adamw[policy].state.values()), default=0)


def version_in(folder: Path) -> int:
    """The optimizer steps of the policy that was saved in `folder`; 0 if no optimizer was saved with it."""
    path = folder / MOMENTS_FILE
    if not path.is_file():
        return 0
    with safe_open(path, framework="pt") as file:
        return max((int(file.get_tensor(name)) for name in file.keys() if name.endswith("/step")), default=0)  # noqa: SIM118


def learning_rate(settings: TrainingSettings, *, step: int, steps: int, policies: int = 1) -> float:
    """The learning rate of step `step` of `steps`, counted from 1 on the policy's own clock.

    It rises linearly over `warmup` steps, or a part of them if the warm-up is counted over all of `policies` trained
    policies, then stays, or falls linearly or as a half cosine, to reach zero after the last step.
    """
    together = policies if settings.warmup_clock == "all" else 1
    passed = step - 1 if settings.warmup_from_zero else step
    if together * passed <= settings.warmup and settings.warmup:
        return settings.learning_rate * (together * passed) / settings.warmup
    warmup = settings.warmup / together
    part = max(0.0, step - 1 - warmup) / max(1, steps - warmup)
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
