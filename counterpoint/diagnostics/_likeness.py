"""Agreement between the answers of parallel calls, and between a reply and its own prompt."""

from collections.abc import Iterator, Sequence
from itertools import combinations, groupby
from statistics import fmean

from counterpoint.episode import Answer, Call, Episode

ECHO_RUN = 8
"""Tokens in a row that a reply must share with its prompt before they count as copied."""


def agreement(episodes: Sequence[Episode]) -> dict[str, float]:
    """Role -> fraction of the pairs of its parallel answers (same turn, other slot) that are equal as text."""
    found: dict[str, list[float]] = {}
    for role, answers in parallel_answers(episodes):
        found.setdefault(role, []).extend(float(one == other) for one, other in combinations(answers, 2))
    return {role: fmean(values) for role, values in found.items()}


def distinct(episodes: Sequence[Episode]) -> dict[str, float]:
    """Role -> mean number of different answers among those side by side."""
    found: dict[str, list[int]] = {}
    for role, answers in parallel_answers(episodes):
        found.setdefault(role, []).append(len(set(answers)))
    return {role: fmean(values) for role, values in found.items()}


def parallel_answers(episodes: Sequence[Episode]) -> Iterator[tuple[str, list[str]]]:
    """For every turn in which a role gave two or more answers: the role, and the answers."""
    for episode in episodes:
        calls = sorted(episode.calls, key=_turn)
        for (role, _), side_by_side in groupby(calls, key=_turn):
            answers = [call.claim.text for call in side_by_side if isinstance(call.claim, Answer)]
            if len(answers) > 1:
                yield role, answers


def echo(call: Call, run: int = ECHO_RUN) -> float:
    """Part of the completion's tokens that are in runs of `run` or more which its prompt has too."""
    runs = {call.prompt_ids[place : place + run] for place in range(len(call.prompt_ids) - run + 1)}
    copied: set[int] = set()
    for place in range(len(call.completion_ids) - run + 1):
        if call.completion_ids[place : place + run] in runs:
            copied.update(range(place, place + run))
    return len(copied) / len(call.completion_ids)


def _turn(call: Call) -> tuple[str, int]:
    return call.key.role, call.key.turn
