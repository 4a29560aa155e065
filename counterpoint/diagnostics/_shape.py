r"""The shape of replies: how long, how hesitant, in which form, and how alike those side by side are.

What a role does is read from its claims, so that the roles of any workflow have the numbers that make sense for them:
a call that chooses, or that answers after it has read the answer of another role, *combines*; one that gives a verdict
*judges*; one whose prompt asks for `\boxed` *is asked for a box*. The text of a reply counts, not its reasoning.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations, groupby
from statistics import fmean
from typing import Final

import numpy as np

from counterpoint.analysis.recorded import has_read
from counterpoint.boxes import boxes
from counterpoint.diagnostics.base import Numbers
from counterpoint.episode import (
    NO_ANSWER,
    NO_CANDIDATE,
    NO_CHOICE,
    NO_VERDICT,
    Answer,
    Call,
    Choice,
    Claim,
    Episode,
    Group,
    Proposal,
    Unreadable,
    Verdict,
)
from counterpoint.tasks._fence import prose_and_code
from counterpoint.workflows._parse import read_strategies

TERSE_TOKENS: Final = 30
"""The most tokens of a terse reply."""
STAMP_TOKENS: Final = 200
"""The most tokens of a verdict that is a bare stamp."""
CODE_LINES: Final = 3
"""The fewest lines, not counting empty ones, of a block that makes a verdict one with code."""
WORDS: Final = 3
"""Words in a row by which two replies are compared."""
SIDE_BY_SIDE: Final = 16
"""The most replies in one turn of a role that are compared, by slot: pairs grow with the square."""
QUOTE_CHARACTERS: Final = 40
"""The fewest characters of a reply that is taken to be quoted wherever its text is found."""
STRATEGY_WORDS: Final = 16
"""The words of a strategy by which it is told from others."""
HEDGES: Final = (
    "actually",
    "alternatively",
    "hmm",
    "hold on",
    "let me double-check",
    "let me recheck",
    "let me reconsider",
    "let me rethink",
    "let me think again",
    "let me try again",
    "maybe",
    "not sure",
    "on second thought",
    "perhaps",
    "wait",
)
"""English phrases by which a reply hesitates or takes back what it said."""
_HEDGES: Final = tuple((phrase, re.compile(rf"{phrase}(?<!\w{phrase})\b")) for phrase in HEDGES)
"""Each phrase, which is quickly looked for, and the expression that finds it as whole words."""
_ASKS: Final = re.compile(r"\\boxed(?![a-zA-Z])")
_SCRIPTS: Final = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Scripts that are written without spaces, as a class of characters."""
_WORD: Final = re.compile(rf"[{_SCRIPTS}]|[^\s{_SCRIPTS}]+")
_REASONS: Final = {NO_ANSWER: Answer, NO_VERDICT: Verdict, NO_CHOICE: Choice}

Rates = dict[str, list[float]]


def shape(groups: Sequence[Group]) -> Numbers:
    """`role/<role>/<name>`: the numbers of a set of episodes; one that nothing was observed for is absent."""
    episodes = [episode for group in groups for episode in group.episodes]
    meant = _meant_by(episodes)
    found: dict[str, Rates] = {}
    tokens: Rates = {}
    for episode in episodes:
        asked: dict[tuple[str, int], bool] = {}  # slots of one turn are asked alike
        for place, call in enumerate(episode.calls):
            role, before = call.key.role, episode.calls[:place]
            if _turn(call) not in asked:
                asked[_turn(call)] = asks_for_a_box(call, before)
            tokens.setdefault(role, []).append(call.tokens)
            for name, value in _of_a_call(call, before, meant, asked[_turn(call)]).items():
                found.setdefault(name, {}).setdefault(role, []).append(value)
    rates = {**found, "similarity": _similarities(episodes), "first_strategies": _first_strategies(groups)}
    numbers = {f"role/{role}/tokens_p95": float(np.percentile(lengths, 95)) for role, lengths in tokens.items()}
    for name, by_role in rates.items():
        numbers |= {f"role/{role}/{name}": fmean(values) for role, values in by_role.items()}
    return numbers


def similarity(one: frozenset[tuple[str, ...]], other: frozenset[tuple[str, ...]]) -> float:
    """The Jaccard index of two sets that `threes` made: the size of their intersection over that of their union."""
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


def threes(text: str) -> frozenset[tuple[str, ...]]:
    """Every `WORDS` words in a row of a text; of a shorter one, all of its words as one, so that it equals itself only.

    Words are what white space separates. In scripts that are written without spaces, every character is a word.
    """
    words = text.split() if text.isascii() else _WORD.findall(text)
    if len(words) < WORDS:
        return frozenset((tuple(words),))
    return frozenset(zip(*(words[start:] for start in range(WORDS)), strict=False))


def hedges(prose: str) -> bool:
    """True if the text hesitates in one of the phrases of `HEDGES`, as whole words in any case; English only."""
    lower = prose.lower()
    return any(phrase in lower and whole.search(lower) is not None for phrase, whole in _HEDGES)


def form(call: Call, code: Sequence[str]) -> str:
    """The form of a verdict, given the blocks of its text: `code`, else `stamp`, else `other`.

    `code`: a block has at least `CODE_LINES` lines. `stamp`: the reply can be read, has no block at all and at most
    `STAMP_TOKENS` tokens.
    """
    if any(sum(bool(line.strip()) for line in source.split("\n")) >= CODE_LINES for source in code):
        return "code"
    bare = not code and not isinstance(call.claim, Unreadable) and call.tokens <= STAMP_TOKENS
    return "stamp" if bare else "other"


def asks_for_a_box(call: Call, before: Iterable[Call]) -> bool:
    r"""True if a call's system message or its last message asks for `\boxed`; replies that it quotes do not count.

    A reply of few characters, such as a box alone, is a quote only on lines of its own: a request may have the same.
    """
    asked = [message["content"] for message in call.messages if message["role"] == "system"]
    asked += [message["content"] for message in call.messages[-1:] if message["role"] != "system"]
    text = "\n".join(asked)
    if not _ASKS.search(text):
        return False
    quotes = {other.text.strip() for other in before if _ASKS.search(other.text)}
    for quote in sorted(quotes, key=len, reverse=True):
        alone = len(quote) < QUOTE_CHARACTERS
        text = f"\n{text}\n".replace(f"\n{quote}\n", "\n") if alone else text.replace(quote, "")
    return _ASKS.search(text) is not None


def has_box(text: str) -> bool:
    """True if a text holds a box that is closed and not empty. The last one, which nearly always is, is read first."""
    last = text.rfind(r"\boxed")
    return (last >= 0 and any(boxes(text[last:]))) or any(boxes(text))


def first_strategy(text: str) -> str:
    """The first words of the first strategy that a proposal numbers, else of its first line, in lower case."""
    lines = (line for line in text.splitlines() if line.strip())
    first = next(iter(read_strategies(text, 1)), None) or next(lines, "")
    return " ".join(first.casefold().split()[:STRATEGY_WORDS])


Meaning = Callable[[Call], type[Claim] | None]


def _meant_by(episodes: Sequence[Episode]) -> Meaning:
    """Call -> the kind of claim that it makes, or should have made; None where that cannot be told.

    An unreadable reply whose reason does not say it should have made the claim that all others of its role make.
    """
    kinds: dict[str, set[type[Claim]]] = {}
    for episode in episodes:
        for call in episode.calls:
            kind = _plainly(call.claim)
            kinds.setdefault(call.key.role, set()).update([] if kind is None else [kind])
    only = {role: next(iter(found)) for role, found in kinds.items() if len(found) == 1}

    def meant(call: Call) -> type[Claim] | None:
        kind = _plainly(call.claim)
        return only.get(call.key.role) if kind is None and isinstance(call.claim, Unreadable) else kind

    return meant


def _plainly(claim: Claim | None) -> type[Claim] | None:
    if isinstance(claim, Unreadable):
        return Choice if claim.reason.startswith(NO_CANDIDATE) else _REASONS.get(claim.reason)
    return None if claim is None else type(claim)


def _of_a_call(call: Call, before: Sequence[Call], meant: Meaning, asked: bool) -> Numbers:
    """The rates that a call counts for, each with its own value; `asked` for a box or not."""
    prose, code = prose_and_code(call.text)
    found = {"hedging": float(hedges(prose))}
    if asked:
        found["boxed"] = float(has_box(call.text))
    if call.text and not call.tokens:
        return found  # a server that did not count
    if _combines(call, before, meant):
        found["terse"] = float(call.tokens <= TERSE_TOKENS and not isinstance(call.claim, Unreadable))
    if meant(call) is Verdict:
        mine = form(call, code)
        found |= {f"form_{name}": float(name == mine) for name in ("code", "stamp", "other")}
    return found


def _combines(call: Call, before: Sequence[Call], meant: Meaning) -> bool:
    """True for a choice, and for an answer to a prompt that holds an answer of another role."""
    if meant(call) is not Answer:
        return meant(call) is Choice
    others = (other for other in before if other.key.role != call.key.role and meant(other) is Answer)
    return any(has_read(call, other) for other in others)


def _similarities(episodes: Sequence[Episode]) -> Rates:
    """Role -> the similarity of every pair of its replies side by side."""
    found: Rates = {}
    for role, texts in _side_by_side(episodes):
        sets = [threes(text) for text in texts[:SIDE_BY_SIDE]]
        found.setdefault(role, []).extend(similarity(one, other) for one, other in combinations(sets, 2))
    return found


def _side_by_side(episodes: Sequence[Episode]) -> Iterator[tuple[str, list[str]]]:
    """For every turn in which a role was called twice or more: the role, and the replies by slot."""
    for episode in episodes:
        calls = sorted(episode.calls, key=lambda call: (*_turn(call), call.key.slot))
        for (role, _), together in groupby(calls, key=_turn):
            texts = [call.text for call in together]
            if len(texts) > 1:
                yield role, texts


def _turn(call: Call) -> tuple[str, int]:
    return call.key.role, call.key.turn


def _first_strategies(groups: Sequence[Group]) -> Rates:
    """Role -> for every task with two or more rollouts that it made a proposal in: how many begin differently."""
    found: Rates = {}
    for group in groups:
        firsts: dict[str, list[str]] = {}
        for episode in group.episodes:
            mine: dict[str, Call] = {}
            for call in sorted(episode.calls, key=lambda call: (call.key.turn, call.key.slot)):
                if isinstance(call.claim, Proposal):
                    mine.setdefault(call.key.role, call)
            for role, call in mine.items():
                firsts.setdefault(role, []).append(first_strategy(call.text))
        for role, several in firsts.items():
            if len(several) > 1:
                found.setdefault(role, []).append(float(len(set(several))))
    return found
