"""What each role does and how well: from episodes alone, so that training and evaluation read the same numbers."""

from collections.abc import Sequence
from statistics import fmean, pstdev

from counterpoint.algorithms.base import Sample
from counterpoint.diagnostics.base import Numbers, Step
from counterpoint.episode import Answer, Call, Choice, Episode, Group, Unreadable, calls_of


def behaviour(step: Step) -> Numbers:
    """The numbers of the step's episodes and of what credit and advantage made of them."""
    numbers = episode_numbers(step.groups)
    for role in dict.fromkeys(sample.call.key.role for sample in step.samples):
        mine = [sample for sample in step.samples if sample.call.key.role == role]
        numbers |= {f"role/{role}/{name}": value for name, value in _sample_numbers(mine).items()}
    return numbers


def episode_numbers(groups: Sequence[Group]) -> Numbers:
    """Team and role numbers of a set of episodes. A number that nothing was observed for is absent."""
    episodes = [episode for group in groups for episode in group.episodes]
    successes = [episode.success for episode in episodes if episode.success is not None]
    numbers: Numbers = {
        "episode/errors": sum(episode.error is not None for episode in episodes),
        "episode/not_judged": sum(episode.success is None for episode in episodes),
        "episode/oracle": fmean(float(any_answer_right(episode)) for episode in episodes),
    }
    if successes:
        numbers["episode/score"] = fmean(successes)
    calls = [call for _, call in calls_of(groups)]
    for role in dict.fromkeys(call.key.role for call in calls):
        mine = [call for call in calls if call.key.role == role]
        numbers |= {f"role/{role}/{name}": value for name, value in _call_numbers(mine, len(episodes)).items()}
    for role, rate in selection(episodes).items():
        numbers[f"role/{role}/selection"] = rate
    return numbers


def any_answer_right(episode: Episode) -> bool:
    """Whether at least one call of the episode gave a right answer."""
    return any(isinstance(call.claim, Answer) and call.score == 1.0 for call in episode.calls)


def selection(episodes: Sequence[Episode]) -> dict[str, float]:
    """Role -> part of its choices that were right, among those where a candidate was right."""
    hits: dict[str, list[float]] = {}
    for episode in episodes:
        right = {call.key for call in episode.calls if isinstance(call.claim, Answer) and call.score == 1.0}
        for call in episode.calls:
            if isinstance(call.claim, Choice) and right.intersection(call.claim.candidates):
                hits.setdefault(call.key.role, []).append(float(call.claim.candidates[call.claim.index] in right))
    return {role: fmean(values) for role, values in hits.items()}


def _call_numbers(calls: Sequence[Call], episodes: int) -> Numbers:
    tokens = [len(call.completion_ids) for call in calls]
    numbers: Numbers = {
        "calls": len(calls) / episodes,
        "tokens": fmean(tokens),
        "truncated": fmean(float(call.finish == "length") for call in calls),
        "unreadable": fmean(float(isinstance(call.claim, Unreadable)) for call in calls),
        "entropy": -sum(sum(call.logprobs) for call in calls) / sum(tokens),
    }
    scores = [call.score for call in calls if call.score is not None]
    if scores:
        numbers["accuracy"] = fmean(scores)
    return numbers


def _sample_numbers(samples: Sequence[Sample]) -> Numbers:
    return {
        "reward": fmean(sample.reward for sample in samples),
        "reward_std": pstdev(sample.reward for sample in samples),
        "advantage_std": pstdev(sample.advantage for sample in samples),
        "without_signal": fmean(float(not sample.signal) for sample in samples),
    }
