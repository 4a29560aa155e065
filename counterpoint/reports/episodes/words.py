"""The words and signs for what a call claimed, what it was worth, and how an episode ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from counterpoint.episode import Answer, CallKey, Choice, Claim, Proposal, Unreadable, Verdict
from counterpoint.reports.episodes.line import EpisodeLine
from counterpoint.reports.episodes.shown import one_line

ERROR_KINDS = {
    "overflow": "workflow: a prompt is too long",
    "calls": "workflow: too many calls",
    "timeout": "workflow: out of time",
}
"""Error kind -> its label, where the name alone does not tell what failed."""
ChipKind = Literal["right", "wrong", "partly", "unreadable", "unjudged", "failed", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """A verdict: a sign and a word, so that nothing depends on its colour."""

    kind: ChipKind
    sign: str
    word: str


_RIGHT = Chip(kind="right", sign="✓", word="right")
_WRONG = Chip(kind="wrong", sign="✗", word="wrong")
_UNREADABLE = Chip(kind="unreadable", sign="?", word="unreadable")
_UNJUDGED = Chip(kind="unjudged", sign="\u2013", word="not judged")
_FAILED = Chip(kind="failed", sign="!", word="failed")
_NO_CLAIM = Chip(kind="none", sign="", word="no claim")


def chip_of_value(value: float | None) -> Chip:
    """The verdict on an answer with this reward."""
    if value is None:
        return _UNJUDGED
    if value in (0.0, 1.0):
        return _RIGHT if value else _WRONG
    return Chip(kind="partly", sign="◐", word=f"partly: {value:.2f}")


def chip_of_call(claim: Claim | None, score: float | None) -> Chip:
    """The verdict on a call."""
    if claim is None:
        return _NO_CLAIM
    return _UNREADABLE if isinstance(claim, Unreadable) else chip_of_value(score)


def chip_of_line(line: EpisodeLine) -> Chip:
    """The verdict on a team."""
    return _FAILED if line.error is not None else chip_of_value(line.reward)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ref:
    """Another call of the episode, or its problem."""

    name: str
    anchor: str
    """The id of its element on the page; empty if it is not in the episode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimView:
    """The claim of a call, in words around the call that it is about."""

    before: str
    """As "approves", or all there is to say."""
    about: Ref | None = None
    after: str = ""


def claim_view(claim: Claim | None, refs: Mapping[CallKey, Ref]) -> ClaimView:
    """The claim in words; `refs` has the calls of the episode."""
    match claim:
        case None:
            return ClaimView(before="makes no claim")
        case Answer(text=text):
            return ClaimView(before=f"answers {one_line(text, 80)}" if text.strip() else "gives an empty answer")
        case Verdict(about=about, correct=correct):
            return ClaimView(before="approves" if correct else "rejects", about=_ref(about, refs))
        case Choice(candidates=candidates, index=index):
            return ClaimView(before="chooses", about=_ref(candidates[index], refs), after=f"of {len(candidates)}")
        case Proposal(followed_by=followers):
            count = len(followers)
            return ClaimView(before=f"proposes what {count} {'call' if count == 1 else 'calls'} followed")
        case Unreadable(reason=reason):
            return ClaimView(before=f"cannot be read: {one_line(reason)}")


def _ref(key: CallKey, refs: Mapping[CallKey, Ref]) -> Ref:
    return refs.get(key) or Ref(name=f"{key.role} slot {key.slot} turn {key.turn}", anchor="")


def names_of(keys: Sequence[CallKey]) -> dict[CallKey, str]:
    """A name for each call of an episode: its role, with its slot and turn where the role has several."""
    slots: dict[str, set[int]] = {}
    turns: dict[str, set[int]] = {}
    for key in keys:
        slots.setdefault(key.role, set()).add(key.slot)
        turns.setdefault(key.role, set()).add(key.turn)
    return {
        key: one_line(key.role, 60)
        + (f" slot {key.slot}" if len(slots[key.role]) > 1 or key.slot else "")
        + (f" turn {key.turn}" if len(turns[key.role]) > 1 or key.turn else "")
        for key in keys
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """The credit that a call got in a training step."""

    reward: str = ""
    advantage: str = ""
    direction: Literal["up", "down", "none"] = "none"
    """Up if the call's tokens were made more likely."""
    note: str = ""
    """Why there is no advantage, or what else is special."""


def credit_of(sample: Mapping[str, Any] | None) -> Credit:
    """The credit in a row of `samples/`; without a row there was none."""
    if sample is None:
        return Credit(note="no credit")
    reward, advantage = f"{sample['reward']:g}", float(sample["advantage"])
    if not sample["signal"]:
        return Credit(reward=reward, note="no signal in its group")
    note = "" if sample.get("in_loss") is not False else "not in the loss"
    direction: Literal["up", "down", "none"] = "up" if advantage > 0 else "down" if advantage < 0 else "none"
    return Credit(reward=reward, advantage=f"{advantage:+.3f}".replace("-", "\u2212"), direction=direction, note=note)
