"""Between messages and tokens. Ids that were sampled or sent once are never encoded again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from counterpoint.config import Thinking
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
    """A reply: the conversation that it ended, and the ids that were sampled for it."""

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
    thinking: Thinking = "off"
    reasoning_end: str = "</think>"
    control: frozenset[str] = frozenset()
    """Texts that the tokenizer reads as control tokens. Inside a message they are broken up: only the template may use
    them, or a reply that spells one out could end a message of whoever quotes it."""

    def prompt(self, messages: Sequence[Message], spoken: Sequence[Spoken] = ()) -> tuple[int, ...]:
        """The ids that ask for a reply to `messages`.

        A reply in `spoken` that stands in `messages`, where the template writes everything up to its end as it would
        have written it then (the prefix check), stands in the ids exactly as it was sampled. So a conversation that
        goes on extends its earlier ids. Everything else is encoded anew: also a reply whose ids say more than stands in
        `messages`, its reasoning, which would get into the prompt with them.
        """
        whole = self._render(messages, reply=True)
        ids: list[int] = []
        end = 0
        for place, message in enumerate(messages):
            said = self._sampled(messages[: place + 1], spoken) if message["role"] == "assistant" else None
            if said is None:
                continue
            before = self._render(messages[:place], reply=True)
            if whole.startswith(before + self._inert(message["content"])):
                ids += [*self._encode(whole[end : len(before)], ids), *said]
                end = len(before) + len(self._inert(message["content"]))
        return (*ids, *self._encode(whole[end:], ids))

    def text(self, completion_ids: Sequence[int]) -> str:
        """What a completion says, its reasoning too, without special tokens but for the end of the reasoning."""
        end = self.tokenizer.encode(self.reasoning_end, add_special_tokens=False)
        pieces = _split(completion_ids, end[0]) if self.reasoning_end in self.control else [list(completion_ids)]
        return self.reasoning_end.join(self._decode(piece) for piece in pieces)

    def parted(self, said: str) -> tuple[str, str]:
        """The reasoning and the text of a reply that said this."""
        return parted(said, self.thinking, self.reasoning_end)

    def _sampled(self, conversation: Sequence[Message], spoken: Sequence[Spoken]) -> tuple[int, ...] | None:
        """The ids that say just the reply that ends the conversation, and were sampled for it; None if there are none.

        Those of this very conversation come first, then those of the same words in another.
        """
        reply = conversation[-1]
        same = [one for one in spoken if one.messages[-1] == reply and self.text(one.ids) == reply["content"]]
        here = [one for one in same if one.messages == tuple(conversation)]
        return (here or same)[0].ids if same else None

    def _decode(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    def _encode(self, text: str, before: Sequence[int]) -> list[int]:
        """The ids of a piece; the end mark that a reply brought along is not written twice."""
        ids = self.tokenizer.encode(text, add_special_tokens=False)
        return ids[1:] if ids and before and before[-1] in self.stop_ids and ids[0] == before[-1] else ids

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


def parted(said: str, thinking: Thinking, reasoning_end: str) -> tuple[str, str]:
    """The reasoning and the text of what was said: what comes before the last `reasoning_end`, and what comes after it.

    The text begins with its first line that says something, as in Qwen3's template. Where reasoning is asked for, what
    never ends it is all reasoning; where it is shown, everything is text.
    """
    before, end, after = said.rpartition(reasoning_end)
    if thinking == "shown":
        return "", said
    if end:
        return before, after.lstrip("\n")
    return (said, "") if thinking == "on" else ("", said)


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
