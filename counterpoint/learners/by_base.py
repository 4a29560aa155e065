"""Several learners, one a base model: policies on different bases in one workflow."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from counterpoint.adapter import Adapter
from counterpoint.algorithms.base import Sample
from counterpoint.algorithms.loss import Loss
from counterpoint.episode import Call
from counterpoint.errors import LearnerError, unknown
from counterpoint.learners.base import NO_RATES, Contribution, Contributions, Learner, Moved, Source


class ByBase:
    """Hands each policy's samples to the learner that holds it."""

    def __init__(self, learners: Sequence[Learner]) -> None:
        self._learners = list(learners)
        self._learner_of: Mapping[str, Learner] = {
            policy: learner for learner in self._learners for policy in learner.digests()
        }

    def backward(self, samples: Sequence[Sample], loss: Loss, *, slots_apart: bool = False) -> Contributions:
        found: dict[Source, Contribution] = {}
        for learner in self._learners:
            found |= learner.backward(self._samples_of(learner, samples), loss, slots_apart=slots_apart)
        return found

    def step(
        self, contributions: Contributions, rates: Mapping[str, float] = NO_RATES, *, step: int
    ) -> dict[str, Moved]:
        moved: dict[str, Moved] = {}
        for learner in self._learners:
            mine = {source: part for source, part in contributions.items() if self._learner(source.policy) is learner}
            moved |= learner.step(mine, rates, step=step)
        return moved

    def logprobs(self, calls: Sequence[Call]) -> list[list[float]]:
        return self._gathered(calls, lambda learner, mine: learner.logprobs(mine))

    def logprobs_with(self, adapter: Adapter, calls: Sequence[Call]) -> list[list[float]]:
        return self._learner(adapter.policy).logprobs_with(adapter, calls)

    def base_logprobs(self, calls: Sequence[Call]) -> list[list[float]]:
        return self._gathered(calls, lambda learner, mine: learner.base_logprobs(mine))

    def adapters(self) -> list[Adapter]:
        return [adapter for learner in self._learners for adapter in learner.adapters()]

    def digests(self) -> dict[str, str]:
        return {policy: digest for learner in self._learners for policy, digest in learner.digests().items()}

    def save(self, folder: Path) -> None:
        for learner in self._learners:
            learner.save(folder)

    def load(self, folder: Path) -> None:
        for learner in self._learners:
            learner.load(folder)

    def _gathered(
        self, calls: Sequence[Call], ask: Callable[[Learner, list[Call]], list[list[float]]]
    ) -> list[list[float]]:
        """The log-probabilities of each call from its policy's learner, in the order of the calls."""
        found: dict[int, list[float]] = {}
        for learner in self._learners:
            mine = [index for index, call in enumerate(calls) if self._learner(call.policy) is learner]
            found |= dict(zip(mine, ask(learner, [calls[index] for index in mine]), strict=True))
        return [found[index] for index in range(len(calls))]

    def _samples_of(self, learner: Learner, samples: Sequence[Sample]) -> list[Sample]:
        return [sample for sample in samples if self._learner(sample.call.policy) is learner]

    def _learner(self, policy: str) -> Learner:
        if policy not in self._learner_of:
            raise LearnerError(unknown("policy", policy, self._learner_of))
        return self._learner_of[policy]
