"""Between messages and tokens. Ids that were sampled or sent once are never encoded again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from counterpoint.episode import Message

_BREAK = "\u200b"
"""A space of no width."""


class Tokenizer(Protocol):
    """The part of a Hugging Face tokenizer that is used here."""

    def apply_chat_template(self, conversation: list[Any], **options: Any) -> Any: ...
    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]: ...
    def decode(self, ids: list[int], *, skip_special_tokens: bool) -> Any: ...


@dataclass(frozen=True, slots=True)
class Spoken:
    """A conversation that ended with a reply, and the exact ids it consisted of."""

    messages: tuple[Message, ...]
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """How one base model writes a conversation as tokens."""

    tokenizer: Tokenizer
    stop_ids: frozenset[int]
    """Any of these ends a reply."""
    template_options: tuple[tuple[str, Any], ...] = ()
    """Passed to the chat template, such as `("enable_thinking", False)`."""
    control: frozenset[str] = frozenset()
    """Texts that the tokenizer reads as control tokens. Inside a message they are broken up: only the template may use
    them, or a reply that spells one out could end a message of whoever quotes it."""

    def prompt(self, messages: Sequence[Message], spoken: Sequence[Spoken] = ()) -> tuple[int, ...]:
        """The ids that ask for a reply to `messages`.

        If `messages` goes on from one of the conversations in `spoken`, and the template writes that beginning the
        same way as before (the prefix check), the ids start with exactly the ids of that conversation; otherwise the
        whole is encoded anew, and a call made from it stands on its own.
        """
        for earlier in sorted(spoken, key=lambda one: len(one.messages), reverse=True):
            extended = self._extend(earlier, messages)
            if extended is not None:
                return extended
        return tuple(self.tokenizer.encode(self._render(messages, reply=True), add_special_tokens=False))

    def text(self, completion_ids: Sequence[int]) -> str:
        """What a completion says, without special tokens."""
        return str(self.tokenizer.decode(list(completion_ids), skip_special_tokens=True))

    def _extend(self, earlier: Spoken, messages: Sequence[Message]) -> tuple[int, ...] | None:
        count = len(earlier.messages)
        if len(messages) <= count or tuple(messages[:count]) != earlier.messages:
            return None
        before = self._render(earlier.messages[:-1], reply=True) + self._inert(earlier.messages[-1]["content"])
        whole = self._render(messages, reply=True)
        if not whole.startswith(before):
            return None
        suffix = self.tokenizer.encode(whole[len(before) :], add_special_tokens=False)
        if suffix and earlier.ids[-1] in self.stop_ids and suffix[0] == earlier.ids[-1]:
            suffix = suffix[1:]
        return earlier.ids + tuple(suffix)

    def _render(self, messages: Sequence[Message], *, reply: bool) -> str:
        inert = [Message(role=message["role"], content=self._inert(message["content"])) for message in messages]
        return str(
            self.tokenizer.apply_chat_template(
                inert, tokenize=False, add_generation_prompt=reply, **dict(self.template_options)
            )
        )

    def _inert(self, content: str) -> str:
        for text in self.control:
            content = content.replace(text, text[0] + _BREAK + text[1:])
        return content
