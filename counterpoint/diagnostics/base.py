"""What a diagnostic is: one step in, numbers out, nothing changed. `docs/metrics.md` defines every name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from counterpoint.algorithms.base import Sample
from counterpoint.episode import Group
from counterpoint.learners.base import Contributions

Numbers = dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Everything that is known after the gradients are computed and before the weights move."""

    index: int
    groups: Sequence[Group]
    samples: Sequence[Sample]
    contributions: Contributions


Diagnostic = Callable[[Step], Numbers]
