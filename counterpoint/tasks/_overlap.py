"""Finds problems that another set has too, word for word or in part.

Two texts overlap if they share a run of `words` words (13, as for GPT-3: arXiv 2005.14165, appendix C), signs and case
aside; a shorter text if all its words are all the words of the other.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

WORDS: Final = 13
_WORD: Final = re.compile(r"\w+")


def overlapping(texts: Sequence[str], others: Iterable[str], words: int = WORDS) -> Mapping[int, int]:
    """By their places, the texts that overlap with one of the others, and the first of those."""
    known: dict[int, int] = {}
    for place, other in enumerate(others):
        for run in _runs(other, words):
            known.setdefault(run, place)
    found = {}
    for place, text in enumerate(texts):
        shared = [known[run] for run in _runs(text, words) if run in known]
        if shared:
            found[place] = min(shared)
    return found


def _runs(text: str, words: int) -> set[int]:
    """One hash per run of `words` words; of a shorter text one hash of all its words."""
    found = _WORD.findall(text.casefold())
    if len(found) <= words:
        return {hash(tuple(found))} if found else set()
    return {hash(tuple(found[begin : begin + words])) for begin in range(len(found) - words + 1)}
