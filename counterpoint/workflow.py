"""A workflow is an async function whose `Role` parameters are its roles and whose other keywords are its options."""

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol, get_type_hints

from counterpoint.config import check_options
from counterpoint.episode import Answer, CallKey, Choice, Claim, Message, Unreadable, Verdict
from counterpoint.errors import WorkflowError
from counterpoint.task import Problem

Play = Callable[..., Awaitable[str | None]]


class Reply:
    """What a role said. A workflow tells what it means by making one claim about it."""

    __slots__ = ("_claim", "conversation", "key", "text")

    def __init__(self, key: CallKey, text: str, conversation: Sequence[Message]) -> None:
        self.key = key
        self.text = text
        self.conversation = tuple(conversation)
        """The messages that led to the reply, and the reply: go on from here to extend the same tokens."""
        self._claim: Claim | None = None

    @property
    def claim(self) -> Claim | None:
        return self._claim

    @property
    def answer(self) -> str | None:
        """The answer it was said to give; None if it gave none."""
        return self._claim.text if isinstance(self._claim, Answer) else None

    def answers(self, text: str | None) -> str | None:
        """The reply gives this answer to the problem; None makes it unreadable.

        Raises WorkflowError if it is not text.
        """
        if text is not None:
            check_text("an answer", text)
        self._set(Unreadable("no answer") if text is None else Answer(text))
        return text

    def judges(self, other: "Reply", correct: bool | None) -> bool | None:
        """The reply says whether the answer of `other` is right; None makes it unreadable."""
        self._set(Unreadable("no verdict") if correct is None else Verdict(other.key, correct))
        return correct

    def chooses(self, candidates: Sequence["Reply"], index: int | None) -> str | None:
        """The reply chooses candidate `index` (from 0); its answer is returned. None or out of range: unreadable."""
        if index is None or not 0 <= index < len(candidates):
            self._set(Unreadable("no choice" if index is None else f"no candidate {index + 1}"))
            return None
        self._set(Choice(tuple(candidate.key for candidate in candidates), index))
        return candidates[index].answer

    def unreadable(self, reason: str) -> None:
        """The reply should have claimed something, but could not be read."""
        self._set(Unreadable(reason))

    def _set(self, claim: Claim) -> None:
        if self._claim is not None:
            raise WorkflowError(f"{self.key}: a reply makes one claim; this one already has {self._claim}")
        self._claim = claim


def check_text(what: str, text: object) -> None:
    """Raises WorkflowError unless `text` is a string that can be written down."""
    if not isinstance(text, str):
        raise WorkflowError(f"{what} must be text or None, not {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise WorkflowError(f"{what} cannot be written as UTF-8: {error}") from None


class Role(Protocol):
    """What a workflow calls to make one part speak."""

    @property
    def name(self) -> str: ...

    async def __call__(
        self, messages: str | Sequence[Message], *, slot: int | None = None, turn: int | None = None
    ) -> Reply:
        """The reply to a prompt, or to a conversation that ends with a user's message.

        `slot` and `turn` are counted unless given. Raises WorkflowError if (slot, turn) was used before.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """A declared workflow: its roles and options are read off the signature of `play`."""

    name: str
    play: Play
    roles: tuple[str, ...]
    options: Mapping[str, Any]
    """Every option with its value."""

    def with_options(self, options: Mapping[str, Any]) -> "Workflow":
        """The same workflow with some options set. Raises ConfigError if one is unknown or out of range."""
        given = {**self.options, **options}
        checked = check_options(f"workflow.{self.name}", self.play, given, skip={"problem", *self.roles})
        return Workflow(name=self.name, play=self.play, roles=self.roles, options=MappingProxyType(checked))

    async def __call__(self, problem: Problem, roles: Mapping[str, Role]) -> str | None:
        """Play once. Raises whatever the workflow raises."""
        return await self.play(problem, **roles, **self.options)


def workflow(play: Play) -> Workflow:
    """Declare `async def name(problem, *, some_role: Role, ..., option=default) -> answer` as a workflow.

    Raises WorkflowError if it is not async, has no role, a positional one, or an option without a default.
    """
    name = getattr(play, "__name__", repr(play))
    if not inspect.iscoroutinefunction(play):
        raise WorkflowError(f"workflow {name!r} must be declared with `async def`")
    parameters = list(inspect.signature(play).parameters.values())
    hints = get_type_hints(play)
    if not parameters or parameters[0].kind is inspect.Parameter.KEYWORD_ONLY:
        raise WorkflowError(f"workflow {name!r} must take the problem as its first, positional parameter")
    named = parameters[1:]
    if any(parameter.kind is not inspect.Parameter.KEYWORD_ONLY for parameter in named):
        raise WorkflowError(f"workflow {name!r}: roles and options must stand after a `*`")
    roles = tuple(parameter.name for parameter in named if hints.get(parameter.name) is Role)
    if not roles:
        raise WorkflowError(f"workflow {name!r} has no role: annotate at least one parameter with `Role`")
    options = {parameter.name: parameter.default for parameter in named if parameter.name not in roles}
    if inspect.Parameter.empty in options.values():
        missing = [key for key, value in options.items() if value is inspect.Parameter.empty]
        raise WorkflowError(f"workflow {name!r}: option {missing[0]!r} needs a default, or is a role without `: Role`")
    return Workflow(name=name, play=play, roles=roles, options=MappingProxyType(options))
