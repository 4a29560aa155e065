"""A learner whose ranks are in processes of their own, as seen from the process that trains.

It knows nothing of how the ranks are started and reached: that is its crew, which a runtime makes.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from threading import RLock
from typing import Any, Protocol

import torch

from counterpoint.adapter import Adapter
from counterpoint.algorithms.base import Sample
from counterpoint.algorithms.loss import Loss
from counterpoint.episode import Call
from counterpoint.errors import LearnerError
from counterpoint.learners._rank import Kept, Refused
from counterpoint.learners.base import NO_RATES, Contribution, Contributions, Gradient, Moved


class Crew(Protocol):
    """The ranks of a learner, each a `_rank.Rank`. It is asked by one thread at a time."""

    def ask(self, method: str, *args: Any) -> list[Any]:
        """The results of a method on every rank, in the order of the ranks; all run it at once.

        The first rank that fails, or is gone, ends the whole group: the others may wait for it in a collective. Then,
        and whenever it is asked later, this raises LearnerError.
        """
        ...

    def ask_first(self, method: str, *args: Any) -> Any:
        """The result of a method on rank 0 alone, for what needs no collective. Raises as `ask`."""
        ...


class Placed:
    """The learner that the ranks of a crew are together. Gradients stay with them."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        # Learning and proofs may be asked for by different threads; all ranks must see the same order.
        self._lock = RLock()
        self._dropped: deque[int] = deque()
        self._policies: list[str] = self.ask_first("policies")

    def backward(self, samples: Sequence[Sample], loss: Loss, *, slots_apart: bool = False) -> Contributions:
        found = self.ask("backward", list(samples), loss, slots_apart)
        return {source: self._contribution(kept) for source, kept in found.items()}

    def step(
        self, contributions: Contributions, rates: Mapping[str, float] = NO_RATES, *, step: int
    ) -> dict[str, Moved]:
        # Held until the step is taken: a gradient from elsewhere has its number only as long as it is referred to.
        gradients = {source: self.far(part.gradient) for source, part in contributions.items()}
        numbers = {source: gradient.number for source, gradient in gradients.items()}
        moved: dict[str, Moved] = self.ask("step", numbers, dict(rates), step)
        return moved

    def logprobs(self, calls: Sequence[Call]) -> list[list[float]]:
        found: list[list[float]] = self.ask("logprobs", list(calls))
        return found

    def logprobs_with(self, adapter: Adapter, calls: Sequence[Call]) -> list[list[float]]:
        found: list[list[float]] = self.ask("logprobs_with", adapter, list(calls))
        return found

    def base_logprobs(self, calls: Sequence[Call]) -> list[list[float]]:
        found: list[list[float]] = self.ask("base_logprobs", list(calls))
        return found

    def adapters(self) -> list[Adapter]:
        found: list[Adapter] = self.ask_first("adapters")
        return found

    def digests(self) -> dict[str, str]:
        found: dict[str, str] = self.ask("digests")
        return found

    def save(self, folder: Path) -> None:
        """As `Learner.save`; nothing in the folder depends on the number of ranks."""
        for path, content in self.ask_first("saved").items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)

    def load(self, folder: Path) -> None:
        """As `Learner.load`, on every rank, also if other ranks saved, or more or fewer.

        Weights and optimizers are then bit-identical to those that were saved. The steps that follow are bit-identical
        only on as many ranks: on others sums are taken in another order.
        """
        files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for policy in self._policies
            for path in sorted((folder / policy).rglob("*"))
            if path.is_file()
        }
        self.ask("load", str(folder), files)

    def ask(self, method: str, *args: Any) -> Any:
        """The answer of rank 0 to what all ranks were asked. Raises LearnerError, also where all of them refuse."""
        with self._lock:
            if self._dropped:
                # Here and not where a gradient is collected, which may be in the middle of something else.
                self._crew.ask("drop", [self._dropped.popleft() for _ in range(len(self._dropped))])
            first, *others = self._crew.ask(method, *args)
        refused = [isinstance(answer, Refused) for answer in (first, *others)]
        if any(refused) and not all(refused):
            raise LearnerError(f"{method}: rank {refused.index(True)} of the learner refuses what others do")
        return _accepted(first)

    def ask_first(self, method: str, *args: Any) -> Any:
        """The answer of rank 0, which alone was asked. Raises LearnerError."""
        with self._lock:
            return _accepted(self._crew.ask_first(method, *args))

    def far(self, gradient: Gradient) -> "Far":
        """The gradient on the ranks; it is sent there if it is not one of theirs, as one that was read from a file."""
        if isinstance(gradient, Far) and gradient.home is self:
            return gradient
        return Far(self, self.ask("keep", gradient.vector().cpu()))

    def forget(self, number: int) -> None:
        """The ranks drop the gradient of this number before they are next asked for anything."""
        self._dropped.append(number)

    def _contribution(self, kept: Kept) -> Contribution:
        return Contribution(
            gradient=Far(self, kept.gradient),
            weight=kept.weight,
            loss=kept.loss,
            facts=kept.facts,
            slots={slot: Far(self, number) for slot, number in kept.slots.items()},
        )


class Far:
    """A gradient that is on every rank of a learner, under one number. The ranks drop it when this is collected."""

    def __init__(self, home: Placed, number: int) -> None:
        self.home = home
        self.number = number

    def dot(self, other: Gradient) -> float:
        there = self.home.far(other)
        return float(self.home.ask_first("dot", self.number, there.number))

    def norm(self) -> float:
        return self._norm

    def scaled(self, factor: float) -> "Far":
        return Far(self.home, self.home.ask("scaled", self.number, factor))

    def plus(self, other: Gradient) -> "Far":
        there = self.home.far(other)
        return Far(self.home, self.home.ask("plus", self.number, there.number))

    def vector(self) -> torch.Tensor:
        """All its values, brought here, on the CPU."""
        found: torch.Tensor = self.home.ask_first("vector", self.number)
        return found

    @cached_property
    def _norm(self) -> float:
        return float(self.home.ask_first("norm", self.number))

    def __del__(self) -> None:
        self.home.forget(self.number)


def _accepted(answer: Any) -> Any:
    if isinstance(answer, Refused):
        raise LearnerError(answer.reason)
    return answer
