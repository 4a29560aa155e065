"""Credit: the reward of each call, from its episode. A call without credit is left out, which is not a reward of 0.

Symbols: R_i the reward of episode i, lambda, alpha, beta, gamma weights, [x] 1 if x holds and else 0.
"""

from collections.abc import Sequence
from statistics import fmean
from typing import Annotated

from pydantic import Field

from counterpoint.algorithms.base import Credit
from counterpoint.episode import NO_ANSWER, Answer, Call, Episode, Group, Unreadable, calls_of
from counterpoint.task import RIGHT_FROM


def outcome(groups: Sequence[Group]) -> list[Credit]:
    """The reward of every call is that of its episode, R_i (GRPO, arXiv 2402.03300; Flow-GRPO, 2510.05592).

    Calls of episodes that failed or could not be judged get no credit.
    """
    return [
        Credit(episode=episode, call=call, reward=episode.score.reward)
        for episode, call in calls_of(groups)
        if episode.score.reward is not None
    ]


def own(groups: Sequence[Group]) -> list[Credit]:
    """The reward of a call is the score of its own claim (arXiv 2605.24202, "per-agent reward"; AstraFlow, 2605.15565).

    1 if its answer was right, its verdict matched the truth, or its choice was right, else 0; for a proposal the mean
    score of the answers that followed it; 0 for an unreadable claim. Calls without a claim, or with one that could not
    be judged, get no credit.
    """
    return [
        Credit(episode=episode, call=call, reward=call.score)
        for episode, call in calls_of(groups)
        if call.score is not None
    ]


def mix(
    groups: Sequence[Group],
    *,
    team: Annotated[float, Field(ge=0)] = 1.0,
    own: Annotated[float, Field(ge=0)] = 0.5,
    format: Annotated[float, Field(ge=0)] = 0.0,
) -> list[Credit]:
    """Alpha R_i + beta own + gamma [readable], alpha = team, beta = own, gamma = format.

    A call that claims nothing has own = 0 and counts as readable. Where the episode or the claim could not be judged,
    there is no credit (AT-GRPO, arXiv 2510.11062; M-GRPO, 2511.13288).
    """
    return [
        Credit(
            episode=episode,
            call=call,
            reward=team * episode.score.reward + own * (call.score or 0.0) + format * _readable(call),
        )
        for episode, call in calls_of(groups)
        if episode.score.reward is not None and (call.claim is None or call.score is not None)
    ]


def help_hurt(
    groups: Sequence[Group],
    *,
    solo: str,
    roles: Annotated[list[str], Field(min_length=1)],
    weight: Annotated[float, Field(gt=0)] = 0.5,
) -> list[Credit]:
    """R_i + lambda ([team right, solo wrong] - [team wrong, solo right]) for the `roles` that advise, R_i for others.

    `solo` is the role that answers the task alone in extra episodes, of which rollout i is compared with episode i
    (CCPO, arXiv 2603.21563). Where that one could not be judged, nothing is added. Raises ValueError if a group has not
    as many episodes of one alone as of the whole workflow.
    """
    bonuses = {
        (group.task, episode.rollout): weight * _helped(episode, alone)
        for group in groups
        for episode, alone in zip(group.episodes, group.solos, strict=True)
    }
    return [
        Credit(
            episode=episode,
            call=call,
            reward=episode.score.reward + (bonuses[episode.task, episode.rollout] if call.key.role in roles else 0.0),
        )
        for episode, call in calls_of(groups)
        if episode.score.reward is not None
    ]


def added(groups: Sequence[Group], *, roles: Annotated[list[str], Field(min_length=1)]) -> list[Credit]:
    """The score of a call's claim minus the mean score of the answers of other roles, for the `roles`; R_i for others.

    What a role that chooses or combines adds to what it was given: of a choice, the mean is what a blind one would be
    worth, so that neither luck nor failure of those before it counts for it (a counterfactual baseline as in COMA,
    arXiv 1705.08926). An unreadable answer has the score 0; without any answer of others the mean is 0. A call of the
    `roles` whose claim could not be judged, or that has none, gets no credit, nor does one if none of the answers of
    others could be judged.
    """
    return [
        Credit(episode=episode, call=call, reward=reward)
        for episode, call in calls_of(groups)
        if (reward := _added(episode, call, roles)) is not None
    ]


def _added(episode: Episode, call: Call, roles: Sequence[str]) -> float | None:
    if call.key.role not in roles:
        return episode.score.reward
    given = [other.score for other in episode.calls if other.key.role not in roles and _answers(other)]
    scores = [score for score in given if score is not None]
    if call.score is None or (given and not scores):
        return None
    return call.score - (fmean(scores) if scores else 0.0)


def _answers(call: Call) -> bool:
    """True if the reply answered, or should have."""
    claim = call.claim
    return isinstance(claim, Answer) or (isinstance(claim, Unreadable) and claim.reason == NO_ANSWER)


def _readable(call: Call) -> float:
    return float(not isinstance(call.claim, Unreadable))


def _helped(team: Episode, alone: Episode) -> int:
    """1 if the team was right where one alone was wrong, -1 the other way round, else 0."""
    if team.score.reward is None or alone.score.reward is None:
        return 0
    return int(team.score.reward >= RIGHT_FROM) - int(alone.score.reward >= RIGHT_FROM)
