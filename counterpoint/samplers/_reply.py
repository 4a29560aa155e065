"""The reply in the body of a chat completion, as servers with OpenAI's interface write it: all of it, or an error."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

_ENDINGS: Mapping[str, Literal["stop", "length"]] = {
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "max_tokens": "length",
    "max_length": "length",
    "model_length": "length",
}
"""Servers' words for the end of a reply that is whole, or cut off at its largest length."""
_TEXT, _REASONING = ("text", "output_text"), ("thinking", "reasoning")
"""Types of the parts of a content."""
_LONGEST = 200
"""Characters of a quotation."""
CUT = "..."
"""The end of a quotation that is cut."""


class UnusableError(Exception):
    """A body that has no reply to use; the message says what is missing, in one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerReply:
    """The reply of a server."""

    text: str
    reasoning: str | None
    """The reasoning that the server gave apart from the text; None if it did not."""
    finish: Literal["stop", "length"]
    tokens: int
    """The tokens of the completion; 0 if the server did not count them."""


def read_reply(body: str, most: int) -> ServerReply:
    """The reply in a body, to a request for at most `most` tokens. Raises UnusableError."""
    table = _table(body)
    choice = _first(table)
    message = choice.get("message")
    if not isinstance(message, Mapping):
        raise UnusableError(f"its choice has no message, but {quoted(choice)}")
    usage = table.get("usage")
    tokens = _count(usage.get("completion_tokens")) if isinstance(usage, Mapping) else 0
    finish = choice.get("finish_reason") or None
    text, apart = _content(message, finish)
    return ServerReply(text=text, reasoning=apart, finish=_ending(finish, tokens, most), tokens=tokens)


def quoted(value: object) -> str:
    """A value in one line that can be written as UTF-8, cut if it is long."""
    line = _writable(" ".join((value if isinstance(value, str) else json.dumps(value, default=str)).split()))
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}{CUT}"


def _table(body: str) -> Mapping[str, Any]:
    if body.lstrip().startswith(("data:", "event:", ":")):
        raise UnusableError("it answered with a stream of events, and not with one chat completion")
    try:
        table = json.loads(body.removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        raise UnusableError(f"it answered with something else than JSON: {quoted(body) or 'nothing'}") from None
    if not isinstance(table, dict):
        raise UnusableError(f"it answered with something else than a chat completion: {quoted(table)}")
    if table.get("error"):
        error = table["error"]
        told = error.get("message") if isinstance(error, dict) else error
        raise UnusableError(f"it answered with an error: {quoted(told or error)}")
    return table


def _first(table: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = table.get("choices")
    if not isinstance(choices, list):
        raise UnusableError(f"it answered with something else than a chat completion: {quoted(table)}")
    if not choices or not isinstance(choices[0], dict):
        raise UnusableError(f"it answered with something else than a chat completion: choices = {quoted(choices)}")
    return choices[0]


def _ending(finish: object, tokens: int, most: int) -> Literal["stop", "length"]:
    if finish is None:  # it may have been cut off all the same
        return "length" if tokens >= most else "stop"
    return _ENDINGS[str(finish).lower()]


def _content(message: Mapping[str, Any], finish: object) -> tuple[str, str | None]:
    """The text of a message, and the reasoning that stands apart from it."""
    if message.get("tool_calls") or message.get("function_call"):
        raise UnusableError(f"it called tools instead of replying: finish_reason = {json.dumps(finish, default=str)}")
    if finish is not None and str(finish).lower() not in _ENDINGS:
        raise UnusableError(f"it gave no text to use: it finished with {finish!r}; known: {', '.join(_ENDINGS)}")
    if message.get("refusal"):
        raise UnusableError(f"it gave no text to use: it refused: {quoted(message['refusal'])}")
    said, parts = _joined(message.get("content"))
    apart = next((message[name] for name in ("reasoning_content", "reasoning") if message.get(name)), None)
    reasoning = _writable(apart) if isinstance(apart, str) else parts
    if said is None and reasoning is None:
        raise UnusableError(f"it gave no text to use: its message has no content, and finished with {finish!r}")
    return _writable(said or ""), reasoning


def _joined(content: object) -> tuple[str | None, str | None]:
    """The text of a content, whole or in parts, and its parts of reasoning; None for what it does not have."""
    if content is None or isinstance(content, str):
        return content, None
    if not isinstance(content, list):
        raise UnusableError(f"it gave no text to use: its content is {quoted(content)}")
    said = [part for part in content if not _is(part, _REASONING)]
    reasoned = [part for part in content if _is(part, _REASONING)]
    reasoning = "".join(map(_reasoned, reasoned)) if reasoned else None
    return ("".join(map(_text, said)) if said else None), reasoning


def _is(part: object, kinds: Sequence[str]) -> bool:
    return isinstance(part, dict) and part.get("type") in kinds


def _text(part: object) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, dict) and part.get("type", "text") in _TEXT and isinstance(part.get("text"), str):
        return str(part["text"])
    raise UnusableError(f"it gave no text to use: a part of its content is {quoted(part)}")


def _reasoned(part: dict[str, Any]) -> str:
    """The text of a part of reasoning, which may have parts of its own."""
    inner = next((part[name] for name in ("thinking", "reasoning", "text") if part.get(name)), "")
    return _writable("".join(map(_text, inner)) if isinstance(inner, list) else str(inner))


def _writable(text: str) -> str:
    """The text without halves of characters, which cannot be written as UTF-8."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _count(value: object) -> int:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**53
    return int(value) if is_number else 0  # type: ignore[call-overload]
