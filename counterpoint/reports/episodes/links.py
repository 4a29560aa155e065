"""The links between the calls of an episode: who judged, chose, followed or read whom, in both directions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from counterpoint.analysis.recorded import has_read
from counterpoint.episode import Call, CallKey, Choice, Proposal, Verdict
from counterpoint.reports.episodes.words import Ref

MOST_COMPARED = 100
"""Calls of an episode up to which it is looked for who read whom: the work grows with their square."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """The calls to which a call is linked in one way."""

    words: str
    """As "judged right by"."""
    to: tuple[Ref, ...]


_Edge = tuple[CallKey, str, str, CallKey]
"""A call, what it does to another one (empty where its claim says so), what is done to that, the other one."""


def candidates_of(calls: Sequence[Call]) -> dict[CallKey, list[Call]]:
    """Call -> the earlier calls whose replies may be in its prompt, the latest turn first.

    Empty in an episode of very many calls.
    """
    if len(calls) > MOST_COMPARED:
        return {}
    return {
        call.key: sorted((other for other in calls[:place] if has_read(call, other)), key=lambda one: -one.key.turn)
        for place, call in enumerate(calls)
    }


def links_of(
    calls: Sequence[Call], reads: Mapping[CallKey, Sequence[CallKey]], refs: Mapping[CallKey, Ref]
) -> dict[CallKey, tuple[Links, ...]]:
    """Call -> its links, those to what it did itself first. A link by a claim is not repeated as one by reading."""
    edges = [edge for call in calls for edge in _claimed(call) if edge[3] in refs]
    claimed = {frozenset((one, other)) for one, _, _, other in edges}
    edges += [
        (key, "read", "read by", other)
        for key, others in reads.items()
        for other in others
        if frozenset((key, other)) not in claimed
    ]
    found: dict[CallKey, dict[str, dict[CallKey, Ref]]] = {call.key: {} for call in calls}
    for one, does, _, other in edges:
        if does:
            found[one].setdefault(does, {})[other] = refs[other]
    for one, _, done, other in edges:
        found[other].setdefault(done, {})[one] = refs[one]
    return {
        key: tuple(Links(words=words, to=tuple(to.values())) for words, to in groups.items())
        for key, groups in found.items()
    }


def _claimed(call: Call) -> Iterator[_Edge]:
    match call.claim:
        case Verdict(about=about, correct=True):
            yield call.key, "", "approved by", about
        case Verdict(about=about, correct=False):
            yield call.key, "", "rejected by", about
        case Choice(candidates=candidates, index=index):
            for place, candidate in enumerate(candidates):
                yield call.key, "", "chosen by" if place == index else "not chosen by", candidate
        case Proposal(followed_by=followers):
            for follower in followers:
                yield call.key, "followed by", "follows", follower
