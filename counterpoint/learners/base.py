"""What a learner is: samples in, gradients out; gradients in, weights changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, Self

from counterpoint.algorithms.base import Sample
from counterpoint.algorithms.loss import Loss
from counterpoint.episode import Call
from counterpoint.policy import Adapter


class Source(NamedTuple):
    """Whose contribution to which policy's gradient."""

    policy: str
    role: str


class Gradient(Protocol):
    """A value: nothing here changes it."""

    def dot(self, other: Self) -> float: ...
    def norm(self) -> float: ...
    def scaled(self, factor: float) -> Self: ...
    def plus(self, other: Self) -> Self: ...


class Contribution(NamedTuple):
    """What one source adds to its policy's gradient, already weighted by the loss."""

    gradient: Gradient
    weight: float
    """The source's part of the policy's token weights: the contributions of a policy have weights that sum to 1."""
    loss: float
    """Its part of the policy's loss."""


Contributions = Mapping[Source, Contribution]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What a step did to a policy."""

    norm: float
    """Of the joint gradient, before the clip."""
    learning_rate: float
    change: float
    """Euclidean norm of the difference in weights."""


class Learner(Protocol):
    def backward(self, samples: Sequence[Sample], loss: Loss) -> Contributions:
        """The contribution of every (policy, role) that has samples with signal. Weights stay as they are.

        The contributions of a policy add up to the gradient of its loss over all its samples with signal.
        """
        ...

    def step(self, contributions: Contributions, *, step: int) -> dict[str, Moved]:
        """Every policy whose contributions do not sum to zero has taken one optimizer step.

        The others have not changed by a bit: momentum does not move them either.

        `step` counts from 1 and is the clock of the learning rate. Raises LearnerError if a gradient is not finite.
        """
        ...

    def logprobs(self, calls: Sequence[Call]) -> list[list[float]]:
        """Log-probability (nats) of each completion token under the current weights of the call's policy."""
        ...

    def adapters(self) -> list[Adapter]:
        """Copies of every policy's weights."""
        ...

    def digests(self) -> dict[str, str]:
        """The digest of every policy's weights."""
        ...

    def save(self, folder: Path) -> None:
        """`folder` holds a PEFT adapter per policy and everything else a later `load` needs to go on."""
        ...

    def load(self, folder: Path) -> None:
        """The learner is, bit for bit, the one that was saved. Raises LearnerError if the folder does not fit."""
        ...
