"""What a team makes of its parallel answers: how often it is right where k of n answers are."""

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import NamedTuple

from counterpoint.task import RIGHT_FROM


class Vote(NamedTuple):
    """The episodes in which the same number of a role's claims is right."""

    right: int
    of: int
    """The claims of an episode."""
    episodes: int
    team: float
    """The share of these episodes in which the team is right."""


def votes_of(episodes: Iterable[tuple[Sequence[float], float]]) -> list[Vote]:
    """The votes of episodes, each the scores of its claims and the success of the team, by the number of right claims.

    Empty unless every episode has the same number of claims, at least 2.
    """
    found: dict[int, list[float]] = {}
    counts = set()
    for claims, team in episodes:
        counts.add(len(claims))
        found.setdefault(sum(one >= RIGHT_FROM for one in claims), []).append(float(team >= RIGHT_FROM))
    if len(counts) != 1 or (of := counts.pop()) < 2:
        return []
    return [Vote(right, of, len(own), fmean(own)) for right, own in sorted(found.items())]


def majority_line(right: int, of: int) -> float:
    """The share of episodes that a majority has right if all wrong answers are equal: 0, 1/2 for as many, or 1."""
    return 0.5 if 2 * right == of else float(2 * right > of)
