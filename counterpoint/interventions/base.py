"""What an intervention is: it changes a step at one or more of four seams, and is saved and resumed with the run."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from counterpoint.algorithms.base import Sample
from counterpoint.algorithms.loss import Loss
from counterpoint.config import Config
from counterpoint.errors import ConfigError, RunError, unknown
from counterpoint.learners.base import NO_RATES, Contributions, Source


class Update(NamedTuple):
    """What a step is about to do to the policies."""

    contributions: Contributions
    rates: Mapping[str, float] = NO_RATES
    """Policy -> factor of its learning rate in this step; 1 for those that are not there."""

    def with_gradients_times(self, factors: Mapping[Source, float]) -> "Update":
        """The contributions of some sources multiplied. A factor of 1 changes nothing, to the bit."""
        return self._replace(
            contributions={
                source: one._replace(gradient=one.gradient.scaled(factors[source])) if source in factors else one
                for source, one in self.contributions.items()
            }
        )

    def with_steps_times(self, factors: Mapping[Source, float]) -> "Update":
        """The part of some sources in their policies' steps multiplied, in a way that an adaptive optimizer keeps.

        Adam divides a gradient by its own size, so that a policy of one role does not notice a factor. With f_r the
        factors and |g_r| the norms, the learning rate is multiplied by f = sum f_r |g_r| / sum |g_r|, and each g_r by
        f_r / f. Exact for plain gradient descent, and for a policy of one role under Adam. Factors are above 0.
        """
        every = {source: factors.get(source, 1.0) for source in self.contributions}
        rates = dict(self.rates)
        relative: dict[Source, float] = {}
        for policy in dict.fromkeys(source.policy for source in factors if source in every):
            norms = {s: one.gradient.norm() for s, one in self.contributions.items() if s.policy == policy}
            mean = _mean([every[source] for source in norms], list(norms.values()))
            rates[policy] = rates.get(policy, 1.0) * mean
            relative |= {source: every[source] / mean for source in norms if every[source] != mean}
        return self.with_gradients_times(relative)._replace(rates=rates)


def _mean(values: Sequence[float], weights: Sequence[float]) -> float:
    """The weighted mean; of equal values exactly what they are."""
    if len(set(values)) == 1 or not sum(weights):
        return values[0]
    return sum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)


class Stop(NamedTuple):
    """That the run ends after this step."""

    reason: str
    roll_back: bool = False
    """Whether it ends with the weights of its peak."""


class Intervention:
    """Changes nothing. A member overrides the seams it needs; the others stay as they are."""

    name = ""
    """Under which recipes and checkpoints know it."""

    def roles(self) -> Collection[str]:
        """The roles that it was told of by name."""
        return ()

    def check(self, config: Config, roles: Collection[str]) -> None:
        """Raises ConfigError if it cannot work with this recipe, whose workflow has these roles."""
        for role in self.roles():
            if role not in roles:
                raise ConfigError(unknown(f"role in interventions.{self.name}", role, roles))

    def slots_apart(self, step: int) -> bool:
        """Whether the gradients of step `step` must be kept apart by slot."""
        return False

    def samples(self, samples: Sequence[Sample], step: int) -> Sequence[Sample]:
        """What step `step` is to learn from."""
        return samples

    def loss(self, loss: Loss) -> Loss:
        """The loss it is to learn with; asked once, before the first step."""
        return loss

    def update(self, update: Update, step: int) -> Update:
        """What the roles are to contribute to their policies, and how far those are to go."""
        return update

    def stop(self, numbers: Mapping[str, float]) -> Stop | None:
        """Why the run is to end after this step; None if it is to go on."""
        return None

    def save(self, folder: Path) -> None:
        """`folder`, which exists, holds all state that `load` needs; without state it stays empty."""

    def load(self, folder: Path) -> None:
        """The state is, bit for bit, the one that was saved."""


class Interventions(Intervention):
    """Several in a row: each sees what the one before it made."""

    def __init__(self, members: Sequence[Intervention]) -> None:
        self.members = tuple(members)

    def slots_apart(self, step: int) -> bool:
        return any(member.slots_apart(step) for member in self.members)

    def samples(self, samples: Sequence[Sample], step: int) -> Sequence[Sample]:
        for member in self.members:
            samples = member.samples(samples, step)
        return samples

    def loss(self, loss: Loss) -> Loss:
        for member in self.members:
            loss = member.loss(loss)
        return loss

    def update(self, update: Update, step: int) -> Update:
        for member in self.members:
            update = member.update(update, step)
        return update

    def stop(self, numbers: Mapping[str, float]) -> Stop | None:
        stops = [member.stop(numbers) for member in self.members]
        return next((stop for stop in stops if stop is not None), None)

    def save(self, folder: Path) -> None:
        for index, member in enumerate(self.members):
            place = folder / f"{index}-{member.name}"
            place.mkdir()
            member.save(place)

    def load(self, folder: Path) -> None:
        for index, member in enumerate(self.members):
            place = folder / f"{index}-{member.name}"
            if not place.is_dir():
                raise RunError(f"{folder} was saved by a run without intervention {index}, {member.name!r}")
            member.load(place)
