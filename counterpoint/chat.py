"""Messages as tokens: ids that were sampled once are never encoded again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from counterpoint.config import Thinking
from counterpoint.episode import Message

_BREAK = "\u200b"
"""A zero-width space."""


class Tokenizer(Protocol):
    """The methods of a Hugging Face tokenizer that a chat uses."""

    def apply_chat_template(self, conversation: list[Any], **options: Any) -> Any: ...
    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]: ...
    def decode(self, ids: list[int], *, skip_special_tokens: bool) -> Any: ...


@dataclass(frozen=True, slots=True)
class Sampled:
    """A reply: the conversation that ends with it, and the ids that were sampled for it."""

    messages: tuple[Message, ...]
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """The chat format of one base model: messages to tokens, and back."""

    tokenizer: Tokenizer
    stop_ids: frozenset[int]
    """Any of these ends a reply."""
    template_options: tuple[tuple[str, Any], ...] = ()
    """Passed to the chat template, such as `("enable_thinking", False)`."""
    thinking: Thinking = "off"
    reasoning_end: str = "</think>"
    control: frozenset[str] = frozenset()
    """Texts that the tokenizer reads as control tokens. Inside a message they are broken up, so that only the template
    uses them: else a reply that spells one out could end the message of a role that quotes it."""
    _rendered: "_Rendered" = field(default_factory=lambda: _Rendered(), init=False, repr=False, compare=False)

    def prompt(self, messages: Sequence[Message], replies: Sequence[Sampled] = ()) -> tuple[int, ...]:
        """The ids of the prompt that asks for a reply to `messages`.

        An assistant's message that is one of `replies` keeps the ids that were sampled for it, provided that the
        template renders everything up to its end as it did when the reply was sampled (the prefix check). So a
        conversation that is continued extends its earlier ids. Everything else is encoded again and so is a reply whose
        ids contain more than its message: the reasoning, which no later prompt may contain.
        """
        whole = self._render(messages)
        ids: list[int] = []
        end = 0
        for place, message in enumerate(messages):
            sampled = self._sampled(messages[: place + 1], replies) if message["role"] == "assistant" else None
            if sampled is None:
                continue
            before = self._render(messages[:place])
            if whole.startswith(before + self._inert(message["content"])):
                ids += [*self._encode(whole[end : len(before)], ids), *sampled]
                end = len(before) + len(self._inert(message["content"]))
        return (*ids, *self._encode(whole[end:], ids))

    def text(self, completion_ids: Sequence[int]) -> str:
        """The text of a completion with its reasoning, without special tokens except the end of the reasoning."""
        end = self.tokenizer.encode(self.reasoning_end, add_special_tokens=False)
        pieces = _split(completion_ids, end[0]) if self.reasoning_end in self.control else [list(completion_ids)]
        return self.reasoning_end.join(self._decode(piece) for piece in pieces)

    def parted(self, text: str) -> tuple[str, str]:
        """The reasoning of a completion and the text after it (see the function `parted`)."""
        return parted(text, self.thinking, self.reasoning_end)

    def _sampled(self, conversation: Sequence[Message], replies: Sequence[Sampled]) -> tuple[int, ...] | None:
        """The ids sampled for the reply that ends the conversation; None if no sampled ids have exactly its text.

        Those of this very conversation are preferred to those of the same text in another.
        """
        reply = conversation[-1]
        same = [one for one in replies if one.messages[-1] == reply and self.text(one.ids) == reply["content"]]
        here = [one for one in same if one.messages == tuple(conversation)]
        return (here or same)[0].ids if same else None

    def _decode(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    def _encode(self, text: str, before: Sequence[int]) -> list[int]:
        """The ids of a piece of a prompt, without its end mark where the reply before it already ends with it."""
        ids = self.tokenizer.encode(text, add_special_tokens=False)
        return ids[1:] if ids and before and before[-1] in self.stop_ids and ids[0] == before[-1] else ids

    def _render(self, messages: Sequence[Message]) -> str:
        """The prompt for a reply to `messages`, as text.

        The prefix check of a prompt renders the prompts of all earlier turns again, which is why the last are kept.
        """
        key = tuple((message["role"], message["content"]) for message in messages)
        return self._rendered.get(key, self._apply_template)

    def _apply_template(self, messages: "_Key") -> str:
        inert = [Message(role=role, content=self._inert(content)) for role, content in messages]
        return str(
            self.tokenizer.apply_chat_template(
                inert, tokenize=False, add_generation_prompt=True, **dict(self.template_options)
            )
        )

    def _inert(self, content: str) -> str:
        for text in self.control:
            content = content.replace(text, text[0] + _BREAK + text[1:])
        return content


def parted(text: str, thinking: Thinking, reasoning_end: str) -> tuple[str, str]:
    """The reasoning of a completion, which is what precedes the last `reasoning_end`, and the text after it.

    Empty lines at the beginning of the text are dropped, as Qwen3's template does. With `thinking = "on"` a completion
    without `reasoning_end` is all reasoning; with `"shown"` everything is text.
    """
    before, end, after = text.rpartition(reasoning_end)
    if thinking == "shown":
        return "", text
    if end:
        return before, after.lstrip("\n")
    return (text, "") if thinking == "on" else ("", text)


_Key = tuple[tuple[str, str], ...]
"""The role and the content of each message."""
_MOST_CHARACTERS = 2**24


class _Rendered:
    """The last prompts that were rendered, of `_MOST_CHARACTERS` in total."""

    def __init__(self) -> None:
        self._texts: dict[_Key, str] = {}
        self._characters = 0

    def get(self, key: _Key, render: Callable[[_Key], str]) -> str:
        """The text that `render(key)` returns, rendered only if it is not among the last."""
        text = self._texts.pop(key, None)
        if text is None:
            text = render(key)
            self._characters += len(text)
        self._texts[key] = text
        while self._characters > _MOST_CHARACTERS:
            self._characters -= len(self._texts.pop(next(iter(self._texts))))
        return text


def without_middle(ids: tuple[int, ...], count: int) -> tuple[int, ...]:
    """The first and the last of more than `count` ids, half of `count` each, the last one more if it is odd."""
    head = count // 2
    return ids[:head] + ids[len(ids) - (count - head) :]


def _split(ids: Sequence[int], mark: int) -> list[list[int]]:
    """The ids between the marks."""
    pieces: list[list[int]] = [[]]
    for one in ids:
        if one == mark:
            pieces.append([])
        else:
            pieces[-1].append(one)
    return pieces
