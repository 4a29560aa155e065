"""The learner's interface: samples in, gradients out; gradients in, weights changed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from counterpoint.adapter import Adapter
from counterpoint.algorithms.base import Sample
from counterpoint.algorithms.loss import Loss
from counterpoint.episode import Call


class Source(NamedTuple):
    """A role's contribution to a policy's gradient."""

    policy: str
    role: str


class Gradient(Protocol):
    """An immutable gradient over the parameters of one policy.

    `other` may be of another class, such as one that was read from a file: its `vector` is what counts.
    """

    def dot(self, other: "Gradient") -> float: ...
    def norm(self) -> float: ...
    def scaled(self, factor: float) -> "Gradient": ...
    def plus(self, other: "Gradient") -> "Gradient": ...
    def vector(self) -> Any:
        """All its values as one float32 torch tensor, which must not be changed. This is what is saved."""
        ...


ROUNDING = 1e-5
"""A sum of gradients that is no longer than this part of their lengths is what rounding left of zero."""


def settled(total: Gradient, mass: float) -> Gradient:
    """A sum of gradients; exactly zero where it is rounding: where its norm is at most `ROUNDING` times `mass`.

    `mass` is the sum of the norms of what was added. Adam would turn what rounding leaves into a step of full size, so
    every sum of gradients that may cancel goes through here or through `added`: for the optimizer's step, for
    diagnostics and for interventions. What is not finite stays what it is.
    """
    norm = total.norm()
    cancels = 0.0 < norm <= ROUNDING * mass and math.isfinite(mass)
    return total.scaled(0.0) if cancels else total


def added(parts: Sequence[Gradient]) -> Gradient:
    """The sum of one or more gradients, `settled`."""
    if len(parts) == 1:
        return parts[0]
    return settled(reduce(lambda one, other: one.plus(other), parts), sum(part.norm() for part in parts))


def cosine(one: Gradient, other: Gradient) -> float | None:
    """The cosine of the angle between two gradients; None where one of them is zero."""
    scale = one.norm() * other.norm()
    return one.dot(other) / scale if scale else None


def coherence(gradients: Sequence[Gradient]) -> float:
    """|sum_s g_s| / sum_s |g_s|: 1 if all push the same way, 0 if they cancel; 0 where all of them are zero."""
    mass = sum(gradient.norm() for gradient in gradients)
    return added(gradients).norm() / mass if mass else 0.0


def chance_coherence(gradients: Sequence[Gradient]) -> float:
    """sqrt(sum_s |g_s|^2) / sum_s |g_s|: the coherence of gradients at right angles, as independent ones nearly are.

    1 / sqrt(n) for n gradients of one length; 0 where all of them are zero.
    """
    norms = [gradient.norm() for gradient in gradients]
    return math.hypot(*norms) / sum(norms) if any(norms) else 0.0


class Contribution(NamedTuple):
    """The contribution of one source to its policy's gradient, already weighted by the loss.

    A learner returns that of one update; `counterpoint.learn.Total` adds those of several.
    """

    gradient: Gradient
    """Exactly zero where it cancels."""
    weight: float
    """The sum of the loss's token weights over the source; for means, the weights of a policy sum to 1."""
    loss: float
    """Its part of the policy's loss."""
    facts: Mapping[str, float] = MappingProxyType({})
    """Means over its tokens, weighted as in the loss: `clipped`, `corrected`, and `kl` if the loss has such a term."""
    slots: Mapping[int, Gradient] = MappingProxyType({})
    """Slot -> its part of the gradient, where slots were kept apart."""
    norms: float | None = None
    """The sum of the norms of the gradients of several updates; None for one update."""

    @property
    def mass(self) -> float:
        """The norm of the gradient, summed over the updates."""
        return self.gradient.norm() if self.norms is None else self.norms


Contributions = Mapping[Source, Contribution]
NO_RATES: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """The effect of a training step on a policy."""

    norm: float
    """The norm of the joint gradient, before clipping; with several updates the mean of theirs."""
    learning_rate: float
    """0 in the first step of a warm-up from zero: the optimizer has taken in the gradient, and the weights stay."""
    change: float
    """Euclidean norm of the difference in weights; with several updates the sum of theirs."""
    updates: int = 1
    """Optimizer steps."""


class Learner(Protocol):
    """Computes gradients of a loss for its policies, and updates their weights."""

    def backward(self, samples: Sequence[Sample], loss: Loss, *, slots_apart: bool = False) -> Contributions:
        """The contribution of every (policy, role) that has samples in the loss. No weight changes.

        The contributions of a policy add up to the gradient of its loss over all its samples in the loss; with
        `slots_apart` each also has its parts by slot, which add up to it. A contribution whose calls cancel, such as
        equal replies with opposite advantages, is exactly zero, whatever rounding leaves of it. Raises LearnerError if
        a sample is of a frozen policy, or has no log-probabilities.
        """
        ...

    def step(
        self, contributions: Contributions, rates: Mapping[str, float] = NO_RATES, *, step: int
    ) -> dict[str, Moved]:
        """Every policy whose contributions do not sum to zero, as `added` says, has taken one optimizer step.

        The weights of the other policies are bit-identical to before: momentum does not move them either. So are those
        of a policy whose learning rate is 0 in this step. `rates` are factors, above 0, of the learning rates of some
        policies in this step. `step` is the training step, counted from 1, from which each policy's clock follows;
        there may be several updates in one. Raises LearnerError if a gradient is not finite.
        """
        ...

    def logprobs(self, calls: Sequence[Call]) -> list[list[float]]:
        """Log-probability (nats) of each completion token under the current weights of the call's policy."""
        ...

    def logprobs_with(self, adapter: Adapter, calls: Sequence[Call]) -> list[list[float]]:
        """Log-probability (nats) of each completion token if the policy of `adapter` had its weights.

        All calls are of that policy. Afterwards its own weights are, bit for bit, as before.
        """
        ...

    def base_logprobs(self, calls: Sequence[Call]) -> list[list[float]]:
        """Log-probability (nats) of each completion token under the base of the call's policy, without its adapter."""
        ...

    def adapters(self) -> list[Adapter]:
        """Copies of every policy's weights."""
        ...

    def digests(self) -> dict[str, str]:
        """The digest of every policy's weights."""
        ...

    def save(self, folder: Path) -> None:
        """`folder` holds a PEFT adapter per policy and everything else that `load` needs to resume."""
        ...

    def load(self, folder: Path) -> None:
        """The learner is bit-identical to the one that was saved. Raises LearnerError if the folder does not fit."""
        ...
