"""Interventions: changes to a training step (its samples, loss, update or end), saved and resumed with the run."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from counterpoint.algorithms.base import Sample
from counterpoint.algorithms.loss import Loss
from counterpoint.config import Config
from counterpoint.errors import ConfigError, MemberError, RunError, blamed, unknown
from counterpoint.learners.base import NO_RATES, Contributions, Source


class Update(NamedTuple):
    """The update that a step is about to apply to the policies."""

    contributions: Contributions
    rates: Mapping[str, float] = NO_RATES
    """Policy -> factor of its learning rate in this step; 1 for policies that are absent."""

    def with_gradients_times(self, factors: Mapping[Source, float]) -> "Update":
        """A copy with the gradients of some sources multiplied. With a factor of 1 a gradient is bit-identical."""
        return self._replace(
            contributions={
                source: one._replace(gradient=one.gradient.scaled(factors[source])) if source in factors else one
                for source, one in self.contributions.items()
            }
        )

    def with_steps_times(self, factors: Mapping[Source, float]) -> "Update":
        """A copy that scales the part of some sources in their policy's step, also under an adaptive optimizer.

        Adam divides a gradient by its own size, so that a policy of one role does not notice a factor. With f_r the
        factors and |g_r| the norms, the learning rate is multiplied by f = sum f_r |g_r| / sum |g_r|, and each g_r by
        f_r / f. Exact for plain gradient descent, and for a policy of one role under Adam. Factors are above 0.
        """
        # Adam is invariant to a common factor of the gradient: only the relative factors go to the gradients, and the
        # common one goes to the learning rate, which Adam does not normalise.
        every = {source: factors.get(source, 1.0) for source in self.contributions}
        rates = dict(self.rates)
        relative: dict[Source, float] = {}
        for policy in dict.fromkeys(source.policy for source in factors if source in every):
            norms = {s: one.gradient.norm() for s, one in self.contributions.items() if s.policy == policy}
            mean = _mean([every[source] for source in norms], list(norms.values()))
            rates[policy] = rates.get(policy, 1.0) * mean
            relative |= {source: every[source] / mean for source in norms if every[source] != mean}
        return self.with_gradients_times(relative)._replace(rates=rates)


def source_of(sample: Sample) -> Source:
    """The policy that the sample is of, and its role."""
    return Source(sample.call.policy, sample.call.key.role)


def _mean(values: Sequence[float], weights: Sequence[float]) -> float:
    """The weighted mean; of equal values exactly what they are."""
    if len(set(values)) == 1 or not sum(weights):
        return values[0]
    return sum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)


class Stop(NamedTuple):
    """The decision to end the run after this step."""

    reason: str
    roll_back: bool = False
    """True if the run ends with the weights of its best checkpoint."""


class Intervention:
    """The base class, which changes nothing. A subclass overrides the methods that it needs."""

    name = ""
    """The name in checkpoints."""

    def roles(self) -> Collection[str]:
        """The roles that its options name."""
        return ()

    def check(self, config: Config, roles: Collection[str]) -> None:
        """Raises ConfigError if it cannot work with this recipe, whose workflow has these roles."""
        for role in self.roles():
            if role not in roles:
                raise ConfigError(unknown(f"role in interventions.{self.name}", role, roles))

    def slots_apart(self, step: int) -> bool:
        """True if the gradients of step `step` are needed per slot."""
        return False

    def samples(self, samples: Sequence[Sample], step: int) -> Sequence[Sample]:
        """The samples from which step `step` learns."""
        return samples

    def loss(self, loss: Loss) -> Loss:
        """The loss to train with; called once, before the first step."""
        return loss

    def update(self, update: Update, step: int) -> Update:
        """The update to apply: the roles' gradients and the learning-rate factors."""
        return update

    def stop(self, numbers: Mapping[str, float]) -> Stop | None:
        """The reason to end the run after this step; None to continue."""
        return None

    def save(self, folder: Path) -> None:
        """`folder`, which exists, holds all state that `load` needs; without state it stays empty."""

    def load(self, folder: Path) -> None:
        """The state is, bit for bit, the one that was saved."""


class Interventions(Intervention):
    """Several interventions in a row; each gets the result of the one before it."""

    def __init__(self, members: Sequence[Intervention]) -> None:
        self.members = tuple(members)

    def slots_apart(self, step: int) -> bool:
        return any(member.slots_apart(step) for member in self.members)

    def samples(self, samples: Sequence[Sample], step: int) -> Sequence[Sample]:
        for member in self.members:
            with blamed(f"intervention {member.name!r}", type(member).__module__):
                samples = _checked(member, "samples", member.samples(samples, step), Sequence)
        return samples

    def loss(self, loss: Loss) -> Loss:
        for member in self.members:
            with blamed(f"intervention {member.name!r}", type(member).__module__):
                loss = _checked(member, "loss", member.loss(loss), Loss)
        return loss

    def update(self, update: Update, step: int) -> Update:
        for member in self.members:
            with blamed(f"intervention {member.name!r}", type(member).__module__):
                update = _checked(member, "update", member.update(update, step), Update)
        return update

    def stop(self, numbers: Mapping[str, float]) -> Stop | None:
        stops = []
        for member in self.members:
            with blamed(f"intervention {member.name!r}", type(member).__module__):
                stops.append(_checked(member, "stop", member.stop(numbers), Stop | None))
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


def _checked(member: Intervention, method: str, found: Any, allowed: Any) -> Any:
    """The return value of a method, checked. Raises MemberError if that is not what it must return."""
    if not isinstance(found, allowed):
        names = {Sequence: "a list of samples", Loss: "a Loss", Update: "a counterpoint.Update"}
        must = names.get(allowed, "a counterpoint.Stop or None")
        raise MemberError(
            f"intervention {member.name!r}: {method} returned a {type(found).__name__}; it must return {must}"
        )
    return found
