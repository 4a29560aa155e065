"""Facts become samples here: credit says what a call was worth, advantage compares it, the loss uses it."""

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from counterpoint.algorithms.overlong import Overlong
from counterpoint.episode import Call, Episode, Group

BASELINES_FILE = "baselines.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """A call that was worth something, and how much."""

    episode: Episode
    call: Call
    reward: float

    @property
    def task(self) -> str:
        return self.episode.task

    @property
    def rollout(self) -> int:
        return self.episode.rollout


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A call as training sees it."""

    task: str
    rollout: int
    call: Call
    reward: float
    advantage: float
    signal: bool
    """Whether its group had any: a group of one, or of equal rewards, compares nothing; its advantage is 0."""
    in_loss: bool = True
    """Whether the loss and its denominators are made of it."""
    old: tuple[float, ...] | None = None
    """Log-probabilities (nats) that the ratio is taken to; None for those under the weights as they are."""

    @property
    def tokens(self) -> int:
        return len(self.call.completion_ids)

    def row(self) -> dict[str, Any]:
        """As it stands in a run's `samples/`."""
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
AdvantageRule = Callable[[Sequence[Credit]], list[Sample]]
Baselines = dict[str, float]
"""Role -> moving average of its reward: what an advantage rule remembers from step to step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithm:
    """How episodes become samples; what samples do to weights is the loss."""

    credit: CreditRule
    advantage: AdvantageRule
    trainable: Collection[str]
    """The policies that are trained: calls of others are compared with nothing and make no samples."""
    overlong: Overlong
    """What the length of a reply takes off its reward, and whether it keeps it out of the loss."""
    keeps_without_signal: bool
    """Whether samples without signal stay in the denominators of the loss."""
    solo: str | None
    """The role that plays each task alone as well, to compare with."""
    baselines: Baselines

    def samples(self, groups: Sequence[Group]) -> list[Sample]:
        """One sample a credited call of a trainable policy, in the order of play. Moves the baselines, if any.

        Raises WorkflowError if the advantage rule needs what the workflow does not do.
        """
        credits = [
            replace(credit, reward=credit.reward - self.overlong.penalty(credit.call))
            for credit in self.credit(groups)
            if credit.call.policy in self.trainable
        ]
        return [replace(sample, in_loss=self._in_loss(sample)) for sample in self.advantage(credits)]

    def without_signal(self, groups: Sequence[Group]) -> set[str]:
        """The tasks none of whose calls has signal. Not for a rule with baselines: asking would move them."""
        found = {sample.task for sample in self.samples(groups) if sample.signal}
        return {group.task for group in groups} - found

    def save(self, folder: Path) -> None:
        """`folder` holds the baselines."""
        (folder / BASELINES_FILE).write_text(json.dumps(self.baselines, indent=2) + "\n")

    def load(self, folder: Path) -> None:
        """The baselines are those that were saved."""
        self.baselines.clear()
        self.baselines.update(json.loads((folder / BASELINES_FILE).read_text()))

    def _in_loss(self, sample: Sample) -> bool:
        return (sample.signal or self.keeps_without_signal) and not self.overlong.masks(sample.call)


def in_loss(samples: Sequence[Sample]) -> list[Sample]:
    """The samples that a loss and its denominators are made of."""
    return [sample for sample in samples if sample.in_loss]
