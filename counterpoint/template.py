"""A chat template examined by rendering it: the marks of its turns, its date, and whether prompts can be made of it."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Annotated

from pydantic import BeforeValidator

Render = Callable[[Sequence[tuple[str, str]], bool], str]
"""The text that a template makes of roles and contents, with or without the request for a reply.

It raises ValueError, of one line, if the template refuses the conversation.
"""


def as_day(value: object) -> object:
    """A date as text, such as 2026-11-28; an empty text is none. Raises ValueError if it is neither."""
    text = value.isoformat() if isinstance(value, date) else value
    if isinstance(text, str) and text:
        try:
            return date.fromisoformat(text).isoformat()
        except ValueError:
            raise ValueError("input should be a date, such as 2026-11-28, or empty") from None
    return text


Day = Annotated[str, BeforeValidator(as_day)]
"""A date, as text."""
_PROBES = ("qjxvone", "qjxvtwo", "qjxvthree", "qjxvfour")
"""Contents that no template writes by itself."""
_ROLES = (
    ("user", "assistant", "user"),
    ("system", "user", "assistant", "user"),
    ("user",),
    ("system", "user"),
    ("user", "assistant", "tool"),
)
_BRACKETED = re.compile(r"<{1,2}[^<>\s]*\w[^<>\s]*>{1,2}|\[[^\[\]\s]*\w[^\[\]\s]*\]")
_CHANCE = re.compile(r"\|\s*random\b|\blipsum\s*\(")
_DATE = "strftime_now"
_DIRECTIVES = ("-d", "-m", "-H", "-I", "-j", *"aAbBcdeDFgGhHIjmMpSTuUVwWxXyYzZ")
"""The letters that can follow a percent sign in the format of a date."""


def pieces(render: Render) -> dict[tuple[str, ...], list[str]]:
    """Roles of a conversation -> the texts that the template writes before, between and after its contents.

    Conversations that the template refuses, or of which it leaves out a content, are absent.
    """
    found: dict[tuple[str, ...], list[str]] = {}
    for roles in _ROLES:
        probes = _PROBES[: len(roles)]
        try:
            text = render(list(zip(roles, probes, strict=True)), True)
        except ValueError:
            continue
        parts = re.split("|".join(probes), text)
        if len(parts) == len(roles) + 1:
            found[roles] = parts
    return found


def marks(written: Mapping[tuple[str, ...], Sequence[str]], added: Iterable[str], but: Collection[str]) -> set[str]:
    """The texts by which a template with these `pieces` begins and ends turns.

    These are the added tokens of the tokenizer and the words in brackets that it writes, and the labels of roles, such
    as `USER:`, where it writes one. Texts in `but` are no marks.
    """
    texts = _around_turns(written)
    tokens = {token for token in added if _is_mark(token) and any(token in text for text in texts)}
    bracketed = {found for text in texts for found in _BRACKETED.findall(text)}
    known = (tokens | bracketed) - set(but)
    return known | {label for text in texts for label in _labels(text, known | set(but))} - set(but)


def fault(render: Render, template: str) -> str | None:
    """One line about a template of which no prompt can be made; None if it is right."""
    if _CHANCE.search(template):
        return "its chat template writes something else each time: it draws at random"
    written = pieces(render)
    if not written:
        try:
            render([("user", _PROBES[0])], True)
        except ValueError as error:
            return f"its chat template cannot be used: {error}"
        return "its chat template leaves out the message of the user"
    turns = written.get(_ROLES[0])
    if turns is None:
        return None
    asked = render([("user", _PROBES[0])], True) if ("user",) in written else ""
    reply, request = turns[1].strip(), turns[3].strip()
    if asked and asked == render([("user", _PROBES[0])], False) and reply != request and reply.startswith(request):
        return (
            f"its chat template does not ask for a reply: a reply begins after {_shown(reply)}, but a prompt ends with"
            f" {_shown(request)}, with add_generation_prompt or without"
        )
    return None


def tells_date(template: str) -> bool:
    """True if the template writes a date that it is not told by its options."""
    return _DATE in template and f"macro {_DATE}(" not in template


def with_date(template: str, date: str) -> str:
    """The template, which takes `date` (YYYY-MM-DD) for the day on which it is rendered, wherever that happens."""
    if not tells_date(template):
        return template
    day = datetime.fromisoformat(date)
    filters = "".join(
        f'|replace("%{one}","{day.strftime(f"%{one}")}")' for one in _DIRECTIVES if day.strftime(f"%{one}")[:1] != "%"
    )
    # The line break belongs to the tag before it, so the template begins as it did.
    return f"{{%- macro {_DATE}(format) -%}}{{{{- format{filters} -}}}}{{%- endmacro %}}\n{template}"


def _is_mark(token: str) -> bool:
    """True if a token can be a mark: a token of spaces, or a word, can be in any text."""
    return len(token) > 1 and not token.isspace() and not token.replace(" ", "").isalnum()


def _around_turns(written: Mapping[tuple[str, ...], Sequence[str]]) -> list[str]:
    """The texts that begin or end a turn, without a system prompt that the template writes by itself."""
    found: list[str] = []
    for roles, parts in written.items():
        if roles[0] == "system":
            found += parts[:2]
        if roles[-3:] == _ROLES[0]:
            first, reply, second, request = parts[-4:]
            found += [_common_end(first, second), _common_start(reply, request), reply, second, request]
        if roles[-1] == "tool":
            found += parts[2:]
    return found or [part for parts in written.values() for part in parts]


def _labels(opener: str, known: Collection[str]) -> list[str]:
    """The label of a role at the end of the text that begins its turn, unless a mark that it has is enough."""
    end = max((opener.rfind(mark) + len(mark) for mark in known if mark in opener), default=0)
    lines = [line.strip() for line in opener[end:].splitlines() if line.strip()]
    if not lines:
        return []
    label = lines[-1]
    if label.endswith((":", "\uff1a")):
        return [label]
    line_break = "\n" if opener.rstrip(" ").endswith("\n") else ""
    return [] if end else [label + line_break]


def _common_start(one: str, other: str) -> str:
    length = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return one[:length]


def _common_end(one: str, other: str) -> str:
    return _common_start(one[::-1], other[::-1])[::-1]


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"...{text[-57:]}")
