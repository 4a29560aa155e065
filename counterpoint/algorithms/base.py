"""Credit, sample and algorithm: credit rewards each call, the advantage compares rewards, the loss uses the result."""

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from counterpoint.algorithms.overlong import Overlong
from counterpoint.episode import Call, Episode, Group
from counterpoint.errors import ConfigError

BASELINES_FILE = "baselines.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """A call and its reward."""

    episode: Episode
    call: Call
    reward: float

    @property
    def task(self) -> str:
        return self.episode.task

    @property
    def rollout(self) -> int:
        return self.episode.rollout

    def sample(self, advantage: float, *, signal: bool = True) -> "Sample":
        """The sample of this call. Without signal its advantage should be 0, and it is left out of the loss."""
        return Sample(
            task=self.task,
            rollout=self.rollout,
            call=self.call,
            reward=self.reward,
            advantage=advantage,
            signal=signal,
            in_loss=signal,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A call with its reward and its advantage, as training uses it."""

    task: str
    rollout: int
    call: Call
    reward: float
    advantage: float
    signal: bool
    """False if its group compares nothing, being a group of one or of equal rewards; its advantage is then 0."""
    in_loss: bool = True
    """True if it counts in the loss and in its denominators."""
    old: tuple[float, ...] | None = None
    """The old log-probabilities of the ratio, in nats; None for those under the weights before the update."""

    @property
    def tokens(self) -> int:
        return len(self.call.completion_ids)

    def row(self) -> dict[str, Any]:
        """Its row in a run's `samples/`."""
        return {
            "task": self.task,
            "rollout": self.rollout,
            **self.call.key._asdict(),
            "reward": self.reward,
            "advantage": self.advantage,
            "signal": self.signal,
            "in_loss": self.in_loss,
        }


CreditRule = Callable[[Sequence[Group]], list[Credit]]
"""The groups of a step -> the reward of each call; a call that is left out is not trained on."""
AdvantageRule = Callable[[Sequence[Credit]], list[Sample]]
"""The credits of all trainable policies in a step -> one sample per credit, in their order."""
Baselines = dict[str, float]
"""Role -> moving average of its reward: the memory of an advantage rule, saved with each checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithm:
    """The rules by which episodes become samples. The loss turns samples into gradients."""

    credit: CreditRule
    advantage: AdvantageRule
    trainable: Collection[str]
    """The policies that are trained. Calls of other policies are not compared and make no samples."""
    overlong: Overlong
    """The treatment of replies that are too long."""
    keeps_without_signal: bool
    """True if samples without signal stay in the denominators of the loss."""
    solo: str | None
    """The role that also solves each task alone, for comparison; None if no role does."""
    baselines: Baselines

    def samples(self, groups: Sequence[Group]) -> list[Sample]:
        """One sample per credited call of a trainable policy, in the order of play. Moves the baselines, if any.

        Raises WorkflowError if the advantage rule does not apply to the workflow, and ConfigError if a member
        that the user wrote returns something else than its family requires.
        """
        credits = [self._penalized(credit) for credit in self.credit(groups) if credit.call.policy in self.trainable]
        samples = self.advantage(credits)
        self._check_baselines()
        counted = [self._in_loss(sample) for sample in samples]
        return [
            sample if sample.in_loss == counts else replace(sample, in_loss=counts)
            for sample, counts in zip(samples, counted, strict=True)
        ]

    def without_signal(self, groups: Sequence[Group]) -> set[str]:
        """The tasks none of whose calls has signal. Not for a rule with baselines, which this would move."""
        found = {sample.task for sample in self.samples(groups) if sample.signal}
        return {group.task for group in groups} - found

    def save(self, folder: Path) -> None:
        """Writes the baselines into `folder`."""
        (folder / BASELINES_FILE).write_text(json.dumps(self.baselines, indent=2) + "\n", encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Replaces the baselines by those saved in `folder`."""
        self.baselines.clear()
        self.baselines.update(json.loads((folder / BASELINES_FILE).read_text(encoding="utf-8")))

    def _check_baselines(self) -> None:
        """Raises ConfigError for what a checkpoint would not give back as it is."""
        for name, value in self.baselines.items():
            if not isinstance(name, str) or not isinstance(value, int | float):
                raise ConfigError(f"algorithm.advantage: baselines must be numbers by text; {name!r} is {value!r}")

    def _penalized(self, credit: Credit) -> Credit:
        penalty = self.overlong.penalty(credit.call)
        return replace(credit, reward=credit.reward - penalty) if penalty else credit

    def _in_loss(self, sample: Sample) -> bool:
        return (sample.signal or self.keeps_without_signal) and not self.overlong.masks(sample.call)


def in_loss(samples: Sequence[Sample]) -> list[Sample]:
    """The samples that count in the loss and in its denominators."""
    return [sample for sample in samples if sample.in_loss]
