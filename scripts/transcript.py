"""What a base model is pre-trained on: conversations whose last words are to be learned."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from counterpoint.episode import Message
from counterpoint.workflows.base import assistant, user


class Transcript(NamedTuple):
    messages: list[Message]
    """What was said before, the user's words last."""
    reply: str
    own: bool = False
    """Whether the assistant's earlier words are to be learned too."""
    drill: bool = False
    """Whether only what follows an equals sign is to be learned, to the end of its line."""


class Lessons(NamedTuple):
    """What a model is taught."""

    batches: Callable[[int, int], Iterator[list[Transcript]]]
    """`batches(seed, steps)`: a list of transcripts a step."""
    read: Callable[[int, int], Iterator[list[Transcript]]]
    """The same, for what the tokenizer is made of."""
    mistakes: dict[str, float]
    """How often a transcript goes wrong on purpose, by kind."""
    pieces: str
    """What the tokenizer never merges across, as a regular expression of its pieces."""
    vocabulary: int


def turns(asked: Sequence[str], said: Sequence[str]) -> list[Message]:
    """User and assistant in turn, up to the last question."""
    earlier = [message for one, other in zip(asked, said, strict=False) for message in (user(one), assistant(other))]
    return [*earlier[: 2 * (len(asked) - 1)], user(asked[-1])]
