"""Facts become samples here: credit says what a call was worth, advantage compares it, the loss uses it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from counterpoint.episode import Call, Group


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """A call that was worth something, and how much."""

    task: str
    rollout: int
    call: Call
    reward: float


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
        }


CreditRule = Callable[[Sequence[Group]], list[Credit]]
AdvantageRule = Callable[[Sequence[Credit]], list[Sample]]


class Algorithm(NamedTuple):
    """How episodes become samples; what samples do to weights is the loss."""

    credit: CreditRule
    advantage: AdvantageRule

    def samples(self, groups: Sequence[Group]) -> list[Sample]:
        """One sample a credited call, with or without signal, in the order of play."""
        return self.advantage(self.credit(groups))


def with_signal(samples: Sequence[Sample]) -> list[Sample]:
    """The samples that a loss and its denominators are made of."""
    return [sample for sample in samples if sample.signal]
