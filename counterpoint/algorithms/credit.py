"""Credit: the reward of each call, from the facts of its episode. A call without a reward is left out, not given 0."""

from collections.abc import Sequence

from counterpoint.algorithms.base import Credit
from counterpoint.episode import Group, calls_of


def outcome(groups: Sequence[Group]) -> list[Credit]:
    """Every call of an episode is worth the episode's reward R_i (GRPO, arXiv 2402.03300; Flow-GRPO, 2510.05592).

    Episodes that failed or could not be judged give no credit.
    """
    return [
        Credit(task=episode.task, rollout=episode.rollout, call=call, reward=episode.score.reward)
        for episode, call in calls_of(groups)
        if episode.score.reward is not None
    ]


def own(groups: Sequence[Group]) -> list[Credit]:
    """A call is worth what its own claim was worth (arXiv 2605.24202, "per-agent reward"; AstraFlow, 2605.15565).

    1 if its answer was right, its verdict matched the truth, or its choice was right, else 0; an unreadable claim is 0.
    Calls without a claim, or with one that could not be judged, give no credit.
    """
    return [
        Credit(task=episode.task, rollout=episode.rollout, call=call, reward=call.score)
        for episode, call in calls_of(groups)
        if call.score is not None
    ]
