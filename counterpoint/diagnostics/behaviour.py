"""The behaviour and accuracy of each role, from episodes alone, so that training and evaluation share the numbers."""

from collections import Counter
from collections.abc import Sequence
from statistics import fmean, pstdev

import numpy as np

from counterpoint.algorithms.advantage import NO_SPREAD
from counterpoint.algorithms.base import Sample
from counterpoint.diagnostics._likeness import agreement, distinct, echo
from counterpoint.diagnostics._shape import shape
from counterpoint.diagnostics.base import Diagnostic, Numbers, Step
from counterpoint.episode import Answer, Call, Choice, Episode, Group, Unreadable, Verdict, calls_of
from counterpoint.task import RIGHT_FROM

QUARTILES = ("tokens_low", "tokens_median", "tokens_high")


class Behaviour(Diagnostic):
    """The numbers of the step's episodes and of what credit and advantage made of them."""

    name = "behaviour"

    def look(self, step: Step) -> Numbers:
        numbers = episode_numbers(step.groups)
        for role in dict.fromkeys(sample.call.key.role for sample in step.samples):
            mine = [sample for sample in step.samples if sample.call.key.role == role]
            numbers |= {f"role/{role}/{name}": value for name, value in _sample_numbers(mine).items()}
        return numbers | {f"role/{role}/inflation": value for role, value in inflation(step.samples).items()}


def episode_numbers(groups: Sequence[Group]) -> Numbers:
    """Team and role numbers of a set of episodes. A number that nothing was observed for is absent."""
    episodes = [episode for group in groups for episode in group.episodes]
    successes = [episode.success for episode in episodes if episode.success is not None]
    kinds = [episode.error_kind for episode in episodes]
    numbers: Numbers = {
        "episode/tasks": len(groups),
        "episode/played": len(episodes),
        "episode/errors": sum(episode.error is not None for episode in episodes),
        **{f"episode/errors/{kind}": count for kind, count in Counter(filter(None, kinds)).items()},
        "episode/not_judged": sum(episode.success is None for episode in episodes),
        "episode/oracle": fmean(float(any_answer_right(episode)) for episode in episodes),
        **against_the_first(episodes),
    }
    if successes:
        numbers["episode/score"] = fmean(successes)
    numbers |= score_parts(episodes)
    calls = [call for _, call in calls_of(groups)]
    for role in dict.fromkeys(call.key.role for call in calls):
        mine = [call for call in calls if call.key.role == role]
        numbers |= {f"role/{role}/{name}": value for name, value in _call_numbers(mine, len(episodes)).items()}
    by_role = {
        "selection": selection(episodes),
        "agreement": agreement(episodes),
        "distinct": distinct(episodes),
        **refinement(episodes),
    }
    for name, rates in by_role.items():
        numbers |= {f"role/{role}/{name}": rate for role, rate in rates.items()}
    return numbers | shape(groups)


def not_called(groups: Sequence[Group], roles: Sequence[str]) -> Numbers:
    """`role/<role>/calls` = 0 for those of `roles` that no episode calls."""
    called = {call.key.role for _, call in calls_of(groups)}
    return {f"role/{role}/calls": 0.0 for role in roles if role not in called}


def score_parts(episodes: Sequence[Episode]) -> Numbers:
    """`episode/part/<name>`: the mean of each part of the scores that have parts, where it is missing it is 0."""
    parts = [episode.score.parts for episode in episodes if episode.score.parts]
    names = sorted({name for part in parts for name in part})
    return {f"episode/part/{name}": fmean(part.get(name, 0.0) for part in parts) for name in names}


def any_answer_right(episode: Episode) -> bool:
    """True if at least one call of the episode gave a right answer."""
    return any(isinstance(call.claim, Answer) and call.score == 1.0 for call in episode.calls)


def against_the_first(episodes: Sequence[Episode]) -> Numbers:
    """`episode/helped` and `episode/hurt`: the team right where its first answer was wrong, and the other way round.

    Parts of the episodes that were judged and whose first answering call was too.
    """
    pairs = [
        (first >= RIGHT_FROM, episode.success >= RIGHT_FROM)
        for episode in episodes
        if episode.success is not None and (first := _first_score(episode)) is not None
    ]
    if not pairs:
        return {}
    return {
        "episode/helped": fmean(float(team and not first) for first, team in pairs),
        "episode/hurt": fmean(float(first and not team) for first, team in pairs),
    }


def _first_score(episode: Episode) -> float | None:
    return next((call.score for call in episode.calls if isinstance(call.claim, Answer)), None)


def inflation(samples: Sequence[Sample]) -> dict[str, float]:
    """Role -> F_r = (sigma_r^2 + (mu_r - mu)^2) / sigma^2, a mean over tasks (Dr. MAS, arXiv 2602.08847).

    mu_r, sigma_r are the moments of the rewards of the role's calls on a task, mu, sigma those of all calls on it: by
    how much the role's squared gradient grows where all roles are compared with one mean. Tasks whose rewards are
    all equal do not count.
    """
    found: dict[str, list[float]] = {}
    for task in dict.fromkeys(sample.task for sample in samples):
        mine = [sample for sample in samples if sample.task == task]
        rewards = np.asarray([sample.reward for sample in mine])
        if np.ptp(rewards) < NO_SPREAD:
            continue
        roles = np.asarray([sample.call.key.role for sample in mine])
        spread = np.square(rewards - rewards.mean()) / rewards.var()
        for role in np.unique(roles):
            found.setdefault(str(role), []).append(float(spread[roles == role].mean()))
    return {role: fmean(values) for role, values in found.items()}


def selection(episodes: Sequence[Episode]) -> dict[str, float]:
    """Role -> fraction of its choices that were right, among those where a candidate was right."""
    hits: dict[str, list[float]] = {}
    for episode in episodes:
        right = {call.key for call in episode.calls if isinstance(call.claim, Answer) and call.score == 1.0}
        for call in episode.calls:
            if isinstance(call.claim, Choice) and right.intersection(call.claim.candidates):
                hits.setdefault(call.key.role, []).append(float(call.claim.candidates[call.claim.index] in right))
    return {role: fmean(values) for role, values in hits.items()}


def refinement(episodes: Sequence[Episode]) -> dict[str, dict[str, float]]:
    """`recovered` and `spoiled`: role -> fraction of its wrong answers followed by a right one, and vice versa.

    The next is that of the same slot in the next turn; one that could not be read is wrong. For roles that answer.
    """
    answering = {call.key.role for episode in episodes for call in episode.calls if isinstance(call.claim, Answer)}
    recovered: dict[str, list[float]] = {}
    spoiled: dict[str, list[float]] = {}
    for episode in episodes:
        scores = {call.key: call.score for call in episode.calls if isinstance(call.claim, Answer | Unreadable)}
        for key, score in scores.items():
            after = scores.get(key._replace(turn=key.turn + 1))
            if score is not None and after is not None and key.role in answering:
                was, is_now = score >= RIGHT_FROM, after >= RIGHT_FROM
                (spoiled if was else recovered).setdefault(key.role, []).append(float(was != is_now))
    return {
        name: {role: fmean(values) for role, values in found.items()}
        for name, found in (("recovered", recovered), ("spoiled", spoiled))
    }


def verdicts(calls: Sequence[Call]) -> Numbers:
    """The accuracy of the verdicts among the calls; a number without observations is absent.

    precision = right among approved, recall = approved among right, false_approval = approved among wrong,
    false_rejection = 1 - recall; judged_right and judged_wrong count the answers. Unreadable verdicts are not among
    them.
    """
    judged = [
        (call.claim.correct, call.claim.correct == (call.score == 1.0))
        for call in calls
        if isinstance(call.claim, Verdict) and call.score is not None
    ]
    rates = {
        "precision": [float(right) for approved, right in judged if approved],
        "recall": [float(approved) for approved, right in judged if right],
        "false_approval": [float(approved) for approved, right in judged if not right],
        "false_rejection": [float(not approved) for approved, right in judged if right],
    }
    numbers = {name: fmean(values) for name, values in rates.items() if values}
    if judged:
        numbers |= {"judged_right": len(rates["recall"]), "judged_wrong": len(rates["false_approval"])}
    return numbers


def _call_numbers(calls: Sequence[Call], episodes: int) -> Numbers:
    sampled = [call for call in calls if call.completion_ids]
    numbers: Numbers = {
        "calls": len(calls) / episodes,
        "tokens": fmean(call.tokens for call in calls),
        **dict(zip(QUARTILES, map(float, np.percentile([call.tokens for call in calls], (25, 50, 75))), strict=True)),
        "truncated": fmean(float(call.finish == "length") for call in calls),
        "unreadable": fmean(float(isinstance(call.claim, Unreadable)) for call in calls),
        **verdicts(calls),
    }
    if sampled:
        numbers["cut_prompts"] = fmean(float(call.cut > 0) for call in sampled)
        numbers["echo"] = fmean(echo(call) for call in sampled)
        numbers["entropy"] = -sum(sum(call.logprobs) for call in sampled) / sum(call.tokens for call in sampled)
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
        "in_loss": fmean(float(sample.in_loss) for sample in samples),
    }
