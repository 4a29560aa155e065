"""Messages as tokens: ids that were sampled once are never encoded again."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from counterpoint.config import Thinking
from counterpoint.episode import Message
from counterpoint.errors import ConversationError
from counterpoint.marks import Marks


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
    """Texts that the tokenizer reads as control tokens, and the marks by which the template begins and ends a turn.
    Inside a message they are broken up, so that only the template uses them: else a reply that spells one out could end
    the message of a role that quotes it."""
    normalized: Callable[[str], str] = str
    """The tokenizer's normalization: the change of a text before it is encoded."""
    date: str = ""
    """The date that the template is told (YYYY-MM-DD); empty if it tells none."""
    _marks: Marks = field(init=False, repr=False, compare=False)
    _control_ids: frozenset[int] = field(init=False, repr=False, compare=False)
    _reasoning_end_id: int | None = field(init=False, repr=False, compare=False)
    """The first id of `reasoning_end`; None if it is no control token."""
    _rendered: "_Recent[_Key, str]" = field(
        default_factory=lambda: _Recent(_MOST_CHARACTERS, len), init=False, repr=False, compare=False
    )
    _encoded: "_Recent[str, tuple[int, ...]]" = field(
        default_factory=lambda: _Recent(_MOST_IDS, len), init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "_marks", Marks(self.control, self.normalized))
        ids = _control_ids(self.tokenizer, self.control - {self.reasoning_end})
        object.__setattr__(self, "_control_ids", ids)
        end = self._encoded_text(self.reasoning_end)[0] if self.reasoning_end in self.control else None
        object.__setattr__(self, "_reasoning_end_id", end)

    def prompt(self, messages: Sequence[Message], replies: Sequence[Sampled] = ()) -> tuple[int, ...]:
        """The ids of the prompt that asks for a reply to `messages`.

        An assistant's message that is one of `replies` keeps the ids that were sampled for it, provided that the
        template renders everything up to its end as it did when the reply was sampled (the prefix check). So a
        conversation that is continued extends its earlier ids. Everything else is encoded again and so is a reply whose
        ids contain more than its message: the reasoning, which no later prompt may contain, or a mark that would begin
        a turn of another role. Raises ConversationError if the template refuses the messages, or leaves one out.
        """
        whole = self._render(messages)
        ids: list[int] = []
        end = 0
        for place, message in enumerate(messages):
            sampled = self._sampled(messages[: place + 1], replies) if message["role"] == "assistant" else None
            if sampled is None or not self._is_plain(message["content"], sampled):
                continue
            try:
                before = self._render(messages[:place])
            except ConversationError:  # a template may refuse a beginning, such as none or one without a user
                continue
            if whole.startswith(before + self._inert(message["content"])):
                ids += (*self._encode(whole[end : len(before)], ids), *sampled)
                end = len(before) + len(self._inert(message["content"]))
        last = self._encode(whole[end:], ids)
        return (*ids, *last) if ids else last

    def text(self, completion_ids: Sequence[int]) -> str:
        """The text of a completion with its reasoning, without special tokens except the end of the reasoning."""
        end = self._reasoning_end_id
        pieces = [list(completion_ids)] if end is None else _split(completion_ids, end)
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

    def _encode(self, text: str, before: Sequence[int]) -> tuple[int, ...]:
        """The ids of a piece of a prompt, without its end mark where the reply before it already ends with it."""
        # Every rollout of a task begins with the same prompt.
        ids = self._encoded.get(text, self._encoded_text)
        return ids[1:] if ids and before and before[-1] in self.stop_ids and ids[0] == before[-1] else ids

    def _encoded_text(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))

    def _render(self, messages: Sequence[Message]) -> str:
        """The prompt for a reply to `messages`, as text.

        The prefix check of a prompt renders the prompts of all earlier turns again, which is why the last are kept.
        """
        key = tuple((message["role"], message["content"]) for message in messages)
        return self._rendered.get(key, self._apply_template)

    def _apply_template(self, messages: "_Key") -> str:
        inert = [Message(role=role, content=self._inert(content)) for role, content in messages]
        try:
            text = self.applied(inert)
        except ValueError as error:
            raise ConversationError(
                f"the chat template refuses a conversation of {_listed(messages)}: {error}"
            ) from None
        for message in inert:
            if message["role"] != "assistant" and not _stands_in(message["content"], text):
                raise ConversationError(
                    f"the chat template leaves out a message of the role {message['role']!r} in a conversation of"
                    f" {_listed(messages)}"
                )
        return text

    def applied(self, messages: Sequence[Message], *, asking: bool = True) -> str:
        """The text that the template makes of messages, with the request for a reply if `asking`.

        Raises ValueError, of one line, if it refuses them.
        """
        options = dict(self.template_options)
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    list(messages), tokenize=False, add_generation_prompt=asking, **options
                )
            )
        except Exception as error:  # a template is a program: it may raise whatever it likes
            raise ValueError(" ".join(str(error).split())[:_LONGEST_REASON] or type(error).__name__) from None

    def _inert(self, content: str) -> str:
        return self._marks.broken_up(content)

    def _is_plain(self, content: str, ids: Sequence[int]) -> bool:
        """True if a sampled reply can begin no turn: no mark is in it but its end, and that of its reasoning."""
        ours = content.replace(self.reasoning_end, "")
        inside = ids[:-1] if ids and ids[-1] in self.stop_ids else ids
        return self._inert(ours) == ours and self._control_ids.isdisjoint(inside)


def _control_ids(tokenizer: Tokenizer, control: Iterable[str]) -> frozenset[int]:
    """The ids of those texts that are one token each."""
    encoded = (tokenizer.encode(text, add_special_tokens=False) for text in control)
    return frozenset(ids[0] for ids in encoded if len(ids) == 1)


def _listed(messages: "_Key") -> str:
    return ", ".join(role for role, _ in messages)


def _stands_in(content: str, text: str) -> bool:
    """True if a template wrote the content, whose spaces it may change."""
    return content.strip() in text or "".join(content.split()) in "".join(text.split())


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


_LONGEST_REASON = 200
"""Characters of what a template says when it refuses."""
_Key = tuple[tuple[str, str], ...]
"""The role and the content of each message."""
_MOST_CHARACTERS = 2**24
"""The most characters of rendered prompts that are kept."""
_MOST_IDS = 2**20
"""The most ids of encoded pieces of prompts that are kept."""
K = TypeVar("K")
V = TypeVar("V")


class _Recent(Generic[K, V]):
    """The last values that were made, of a limited size in total."""

    def __init__(self, most: int, size: Callable[[V], int]) -> None:
        self._most = most
        self._size = size
        self._values: dict[K, V] = {}
        self._total = 0

    def get(self, key: K, make: Callable[[K], V]) -> V:
        """The value that `make(key)` returns, made only if it is not among the last."""
        value = self._values.pop(key, None)
        if value is None:
            value = make(key)
            self._total += self._size(value)
        self._values[key] = value
        while self._total > self._most:
            self._total -= self._size(self._values.pop(next(iter(self._values))))
        return value


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
