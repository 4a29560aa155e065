"""The new part of a prompt: without what the role was told before, with references in place of others' replies."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from counterpoint.episode import Call, CallKey, Message
from counterpoint.reports.episodes.shown import Shown, cut, one_line, shown, visible
from counterpoint.reports.episodes.words import Ref

_LEAST_QUOTED = 8
"""Characters of a text below which it may be in a prompt by chance."""
_LEAST_SHARED = 80
"""Characters with which two messages must begin alike for that to be folded."""
_LONGEST_NEW = 1_500
"""Characters of what is new in a message; the message as it was sent has all of it."""
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")
SYSTEM = "system"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a message: its text, or a reference to the call whose reply is there word by word."""

    text: str = ""
    quoted: Ref | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessage:
    """A message, or the end of one, that the role was not sent before."""

    role: str
    parts: tuple[Part, ...]
    shared: int = 0
    """Characters that it begins with as the role's last prompt did, which are not repeated."""
    left_out: int = 0
    """Characters that were left out of the middle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeMessage:
    """A message as it was sent."""

    role: str
    text: Shown


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptView:
    """The prompt of a call."""

    same_as: Ref | None = None
    """The call whose prompt it is, word by word; then nothing is new."""
    since: Ref | None = None
    """The call of the role whose prompt is compared."""
    earlier: int = 0
    """Messages that are as in that prompt, and the reply to it."""
    system: tuple[WholeMessage, ...] = ()
    """System messages that are new."""
    new: tuple[NewMessage, ...] = ()
    whole: tuple[WholeMessage, ...] = ()
    """All messages as they were sent; empty in a report, which leaves out what other calls show."""


def last_prompt(call: Call, before: Sequence[Call]) -> Call | None:
    """The call whose prompt a call's is compared with: of its role and slot, else of its role; the last one."""
    mine = [one for one in before if one.key.role == call.key.role]
    slot = [one for one in mine if one.key.slot == call.key.slot]
    same = [one for one in mine if one.messages == call.messages]
    found = same[:1] or slot[-1:] or mine[-1:]
    return found[0] if found else None


def prompt_view(
    call: Call,
    last: Call | None,
    quotes: Sequence[tuple[str, Ref]],
    refs: Mapping[CallKey, Ref],
    limit: int,
    *,
    whole: bool,
) -> PromptView:
    """The prompt of a call after `last`, the call to compare with; `quotes` are texts that may be in it, with whose."""
    if last is not None and last.messages == call.messages:
        return PromptView(same_as=refs[last.key])
    messages = list(call.messages)
    known = _in_common(messages, () if last is None else last.messages)
    has_own = last is not None and known == len(last.messages) and _is_reply(messages[known:], last)
    fresh = messages[known + has_own :]
    tail = [] if last is None or has_own else list(last.messages[known:])
    lines = [
        _new(message, tail[place] if place < len(tail) else None, quotes, limit) for place, message in enumerate(fresh)
    ]
    kept = [one for one, message in zip(lines, fresh, strict=True) if message["role"] != SYSTEM]
    return PromptView(
        since=refs[last.key] if last is not None and (known or any(one.shared for one in kept)) else None,
        earlier=known + has_own,
        system=tuple(_whole(message, limit) for message in fresh if message["role"] == SYSTEM),
        new=tuple(kept),
        whole=tuple(_whole(message, limit) for message in messages) if whole else (),
    )


def _in_common(messages: Sequence[Message], earlier: Sequence[Message]) -> int:
    """The number of messages with which both begin."""
    pairs = zip(messages, earlier, strict=False)
    return next((place for place, (one, other) in enumerate(pairs) if one != other), min(len(messages), len(earlier)))


def _is_reply(rest: Sequence[Message], last: Call) -> bool:
    """True if the next message is the role's own reply."""
    return bool(rest) and rest[0]["role"] == "assistant" and rest[0]["content"].strip() == last.text.strip()


def _whole(message: Message, limit: int) -> WholeMessage:
    return WholeMessage(role=one_line(message["role"], 40), text=shown(message["content"], limit))


def _new(message: Message, before: Message | None, quotes: Sequence[tuple[str, Ref]], limit: int) -> NewMessage:
    text = message["content"]
    shared = _shared(text, before["content"]) if before is not None and before["role"] == message["role"] else 0
    parts = _quoted(text[shared:].strip("\n"), quotes)
    left = max(1, min(limit, _LONGEST_NEW) // max(1, sum(part.quoted is None for part in parts)))
    cuts = [cut(part.text, left) for part in parts]
    return NewMessage(
        role=one_line(message["role"], 40),
        parts=tuple(
            part if part.quoted else Part(text=_BLANK_LINES.sub("\n", visible(text)))
            for part, (text, _) in zip(parts, cuts, strict=True)
        ),
        shared=shared,
        left_out=sum(count for _, count in cuts),
    )


def _shared(text: str, before: str) -> int:
    """The characters of whole lines with which both texts begin; 0 if they are few."""
    length = next((place for place, (one, other) in enumerate(zip(text, before, strict=False)) if one != other), None)
    length = min(len(text), len(before)) if length is None else length
    lines = text.rfind("\n", 0, length) + 1
    return lines if lines >= _LEAST_SHARED else 0


def _quoted(text: str, quotes: Sequence[tuple[str, Ref]]) -> list[Part]:
    """The text with a reference in place of each quoted text; of equal texts each is taken once, in their order."""
    of: dict[str, list[Ref]] = {}
    for quote, ref in quotes:
        if len(quote.strip()) >= _LEAST_QUOTED:
            of.setdefault(quote.strip(), []).append(ref)
    if not of:
        return [Part(text=text)]
    longest_first = sorted(of, key=len, reverse=True)
    parts: list[Part] = []
    last = 0
    for found in re.finditer("|".join(map(re.escape, longest_first)), text):
        refs = of[found[0]]
        before = text[last : found.start()]
        before = f"{before[:-1]} " if before.endswith(":\n") else before
        parts += [Part(text=before), Part(quoted=refs[0])]
        of[found[0]] = refs[1:] or refs
        last = found.end()
    return [part for part in (*parts, Part(text=text[last:])) if part.quoted or part.text.strip()]
