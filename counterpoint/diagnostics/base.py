"""Diagnostics: numbers computed from a training step without changing it. `docs/metrics.md` defines every name.

(Slots kept apart are other micro-batches: gradients are then the same up to rounding.)
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from counterpoint.algorithms.base import Sample
from counterpoint.clock import timed
from counterpoint.episode import Call, Group
from counterpoint.errors import MemberError, RunError, blamed
from counterpoint.learners.base import Contributions
from counterpoint.task import scalar

Numbers = dict[str, float]


@dataclass(frozen=True, slots=True)
class Step:
    """Everything that is known of a training step after its updates."""

    index: int
    groups: Sequence[Group]
    samples: Sequence[Sample]
    contributions: Contributions
    """The contribution of every (policy, role), added over the step's updates: gradients, weights and losses are sums,
    `mass` is the sum of the gradients' norms. A ratio of them is right whatever mini-batches a role was in."""
    base_logprobs: Callable[[Sequence[Call]], list[list[float]]]
    """Log-probability (nats) of each completion token of some calls under the bases of their policies."""
    updates: Mapping[str, int] = field(default_factory=dict)
    """Policy -> the updates in which it had samples in the loss; a policy that is not named had one."""
    norms: Mapping[str, float] = field(default_factory=dict)
    """Policy -> the norm of its joint gradient, summed over the updates; a policy that is not named had one update."""


class Diagnostic:
    """The base class, which computes nothing. The state of a subclass is saved with the run."""

    name = ""
    """The name in checkpoints, that of a folder; if it is empty, that of the class."""

    @property
    def module(self) -> str:
        """The module that its code is in."""
        return type(self).__module__

    def slots_apart(self, step: int) -> bool:
        """True if the gradients of step `step` are needed per slot, which costs one buffer per slot."""
        return False

    def look(self, step: Step) -> Numbers:
        """The numbers of a step, called once however many updates it has; a number without observations is absent."""
        return {}

    def save(self, folder: Path) -> None:
        """`folder`, which exists, holds all state that `load` needs; without state it stays empty."""

    def load(self, folder: Path) -> None:
        """The state is, bit for bit, the one that was saved."""


class Diagnostics(Diagnostic):
    """Several diagnostics of the same step."""

    def __init__(self, members: Sequence[Diagnostic]) -> None:
        self.members = tuple(members)

    def slots_apart(self, step: int) -> bool:
        return any(member.slots_apart(step) for member in self.members)

    @timed("diagnostics")
    def look(self, step: Step) -> Numbers:
        numbers: Numbers = {}
        for member in self.members:
            with blamed(f"diagnostic {member.name!r}", member.module):
                found = member.look(step)
            numbers |= _checked(member.name, found, numbers)
        return numbers

    def save(self, folder: Path) -> None:
        for member in self.members:
            (folder / member.name).mkdir()
            with blamed(f"diagnostic {member.name!r}", member.module):
                member.save(folder / member.name)

    def load(self, folder: Path) -> None:
        for member in self.members:
            if not (folder / member.name).is_dir():
                raise RunError(f"{folder} was saved by a run without the diagnostic {member.name!r}")
            member.load(folder / member.name)


def _checked(name: str, found: object, known: Mapping[str, float]) -> Numbers:
    """The return value of a diagnostic, as plain numbers.

    Raises MemberError unless it is numbers by name, and names that no other one uses.
    """
    if not isinstance(found, Mapping):
        raise MemberError(f"diagnostic {name!r} returned a {type(found).__name__}; it must return numbers by name")
    plain = {key: scalar(value) for key, value in found.items()}
    for key, value in plain.items():
        if not isinstance(key, str) or not isinstance(value, int | float):
            raise MemberError(f"diagnostic {name!r} returned {key!r}: {value!r}; it must return numbers by name")
        if key in known:
            raise MemberError(f"diagnostic {name!r} returned {key!r}, a name that another diagnostic uses")
        if key == "step":
            raise MemberError(f"diagnostic {name!r} returned {key!r}, which names the step itself")
    return plain
