"""What an intervention is: it changes a step at one or more of four seams, and is saved and resumed with the run."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from counterpoint.algorithms.base import Sample
from counterpoint.algorithms.loss import Loss
from counterpoint.learners.base import Contributions


class Intervention:
    """Changes nothing. A member overrides the seams it needs; the others stay as they are."""

    name = ""
    """Under which recipes and checkpoints know it."""

    def samples(self, samples: Sequence[Sample]) -> Sequence[Sample]:
        """What the step is to learn from."""
        return samples

    def loss(self, loss: Loss) -> Loss:
        """The loss it is to learn with; asked once, before the first step."""
        return loss

    def gradients(self, contributions: Contributions) -> Contributions:
        """What the roles are to contribute to their policies."""
        return contributions

    def stop(self, numbers: Mapping[str, float]) -> str | None:
        """Why the run is to end after this step; None if it is to go on."""
        return None

    def save(self, folder: Path) -> None:
        """`folder`, which exists, holds all state that `load` needs; without state it stays empty."""

    def load(self, folder: Path) -> None:
        """The state is, bit for bit, the one that was saved."""


class Interventions(Intervention):
    """Several in a row: each sees what the one before it made."""

    def __init__(self, members: Sequence[Intervention]) -> None:
        self._members = tuple(members)

    def samples(self, samples: Sequence[Sample]) -> Sequence[Sample]:
        for member in self._members:
            samples = member.samples(samples)
        return samples

    def loss(self, loss: Loss) -> Loss:
        for member in self._members:
            loss = member.loss(loss)
        return loss

    def gradients(self, contributions: Contributions) -> Contributions:
        for member in self._members:
            contributions = member.gradients(contributions)
        return contributions

    def stop(self, numbers: Mapping[str, float]) -> str | None:
        reasons = [member.stop(numbers) for member in self._members]
        return next((reason for reason in reasons if reason is not None), None)

    def save(self, folder: Path) -> None:
        for index, member in enumerate(self._members):
            place = folder / f"{index}-{member.name}"
            place.mkdir()
            member.save(place)

    def load(self, folder: Path) -> None:
        for index, member in enumerate(self._members):
            member.load(folder / f"{index}-{member.name}")
