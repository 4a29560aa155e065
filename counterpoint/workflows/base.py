"""A workflow is an async function whose `Role` parameters are its roles and whose other keywords are its options."""

import inspect
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol, get_type_hints, overload

from counterpoint.episode import (
    NO_ANSWER,
    NO_CANDIDATE,
    NO_CHOICE,
    NO_VERDICT,
    Answer,
    CallKey,
    Choice,
    Claim,
    Message,
    Proposal,
    Unreadable,
    Verdict,
)
from counterpoint.errors import WorkflowError, located, told
from counterpoint.options import check_options
from counterpoint.task import Problem, scalar

Play = Callable[..., Awaitable[str | None]]


class Reply:
    """The reply of a role. A workflow says what it means by making one claim about it."""

    __slots__ = ("_claim", "conversation", "key", "reasoning", "text")

    def __init__(self, key: CallKey, text: str, conversation: Sequence[Message], *, reasoning: str = "") -> None:
        self.key = key
        self.text = text
        self.reasoning = reasoning
        """The model's reasoning before the text; empty where it does not reason, or the text includes it."""
        self.conversation = tuple(conversation)
        """The messages that led to the reply, and the reply: a call that continues them extends the same tokens."""
        self._claim: Claim | None = None

    @property
    def claim(self) -> Claim | None:
        return self._claim

    @property
    def answer(self) -> str | None:
        """The answer that the workflow claimed for it; None without such a claim."""
        return self._claim.text if isinstance(self._claim, Answer) else None

    def answers(self, text: str | None) -> str | None:
        """Claim that the reply gives this answer to the problem; None makes it unreadable. Returns `text`.

        Raises WorkflowError if it is not text, or if the reply already has a claim.
        """
        if text is not None:
            check_text("an answer", text, "text or None")
        self._set(Unreadable(NO_ANSWER) if text is None else Answer(text))
        return text

    def judges(self, other: "Reply", correct: bool | None) -> bool | None:
        """Claim that the reply calls the answer of `other` right or wrong; None: unreadable. Returns `correct`.

        Raises WorkflowError if it is anything else, which would be neither right nor wrong.
        """
        correct = scalar(correct)
        if not isinstance(correct, bool | None):
            raise WorkflowError(f"a verdict must be True, False or None, not {type(correct).__name__}")
        self._set(Unreadable(NO_VERDICT) if correct is None else Verdict(other.key, correct))
        return correct

    def chooses(self, candidates: Sequence["Reply"], index: int | None) -> str | None:
        """Claim that the reply chooses candidate `index`, counted from 0. Returns the answer of that candidate.

        An index that is None or out of range makes the reply unreadable. Raises WorkflowError if it is no whole number.
        """
        index = scalar(index)
        if not isinstance(index, int | None):
            raise WorkflowError(f"the index of a choice must be a whole number or None, not {index!r}")
        if index is None or not 0 <= index < len(candidates):
            self._set(Unreadable(NO_CHOICE if index is None else f"{NO_CANDIDATE} {index + 1}"))
            return None
        self._set(Choice(tuple(candidate.key for candidate in candidates), index))
        return candidates[index].answer

    def proposes(self, followers: Sequence["Reply"]) -> None:
        """Claim that the reply proposed what `followers` did: its score is the mean score of their answers.

        Raises WorkflowError without followers: a proposal that cannot be followed is unreadable.
        """
        if not followers:
            raise WorkflowError(f"{_named(self.key)}: a proposal without followers must be claimed as unreadable")
        self._set(Proposal(tuple(follower.key for follower in followers)))

    def unreadable(self, reason: str) -> None:
        """Claim that the reply lacks something that it should contain, for this reason.

        Raises WorkflowError if the reason is not text.
        """
        check_text("a reason", reason)
        self._set(Unreadable(reason))

    def _set(self, claim: Claim) -> None:
        if self._claim is not None:
            raise WorkflowError(f"{_named(self.key)}: a reply makes one claim; this one already has {self._claim}")
        self._claim = claim


def _named(key: CallKey) -> str:
    return f"role {key.role!r}, slot {key.slot}, turn {key.turn}"


def check_text(what: str, text: object, allowed: str = "text") -> None:
    """Raises WorkflowError, which says what is `allowed`, unless `text` is a string that can be written down."""
    if not isinstance(text, str):
        raise WorkflowError(f"{what} must be {allowed}, not {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise WorkflowError(f"{what} cannot be written as UTF-8: {error}") from None


def user(text: str) -> Message:
    """A message to a role."""
    return Message(role="user", content=text)


def assistant(text: str) -> Message:
    """A message that a role wrote."""
    return Message(role="assistant", content=text)


class Role(Protocol):
    """The handle by which a workflow calls a role."""

    @property
    def name(self) -> str: ...

    async def __call__(
        self, messages: str | Sequence[Message], *, slot: int | None = None, turn: int | None = None
    ) -> Reply:
        """The reply to a prompt, or to a conversation that ends with a user's message.

        `slot` and `turn` are counted unless given; a call that raises has neither. Raises WorkflowError if they are no
        whole numbers from 0, or a call has this slot and turn, PromptLengthError if the prompt is too long,
        EndpointError if a server that plays the role does not answer.
        """
        ...


Roles = Sequence[Role]
"""The annotation of a parameter that stands for several roles; its `Part` says how many."""


class Part(NamedTuple):
    """The roles that a parameter of a workflow stands for under given options."""

    roles: int = 1
    """The number of roles: one has the parameter's name, several are `<name>_1`, `<name>_2`, ...; 0 leaves it out."""
    slots: int = 1
    """The number of calls of one such role that may run in parallel."""


Takes = Literal["one", "one or none", "several"]
Casting = Callable[[Mapping[str, Any]], Mapping[str, Part]]
"""Options -> the part of each parameter that is not one role with one slot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """A declared workflow: its roles and options are read from the signature of `play`."""

    name: str
    play: Play
    options: Mapping[str, Any]
    """Every option with its value."""
    parameters: Mapping[str, Takes]
    """Parameter that stands for roles -> the number of roles that it accepts."""
    casting: Casting

    @property
    def cast(self) -> dict[str, tuple[str, ...]]:
        """Parameter -> the roles it stands for under these options."""
        parts = self._parts()
        return {name: _names(name, parts[name].roles) for name in self.parameters}

    @property
    def roles(self) -> tuple[str, ...]:
        """Every role, in the order of the signature."""
        return tuple(role for roles in self.cast.values() for role in roles)

    @property
    def slots(self) -> dict[str, int]:
        """Role -> the number of its calls that may run in parallel."""
        parts = self._parts()
        return {role: parts[name].slots for name, roles in self.cast.items() for role in roles}

    def with_options(self, options: Mapping[str, Any]) -> "Workflow":
        """The same workflow with some options set.

        Raises ConfigError if one is unknown or out of range, WorkflowError if the cast does not fit the roles then.
        """
        given = {**self.options, **options}
        checked = check_options(f"workflow.{self.name}", self.play, given, skip={"problem", *self.parameters})
        changed = replace(self, options=MappingProxyType(checked))
        _check_cast(changed)
        return changed

    async def __call__(self, problem: Problem, roles: Mapping[str, Role]) -> str | None:
        """Play the workflow once; returns its answer. Raises whatever the workflow raises."""
        handles = {name: [roles[role] for role in members] for name, members in self.cast.items()}
        given = {
            name: members if self.parameters[name] == "several" else next(iter(members), None)
            for name, members in handles.items()
        }
        return await self.play(problem, **given, **self.options)

    def _parts(self) -> dict[str, Part]:
        return {**dict.fromkeys(self.parameters, Part()), **self.casting(self.options)}


@overload
def workflow(play: Play) -> Workflow: ...
@overload
def workflow(*, cast: Casting) -> Callable[[Play], Workflow]: ...
def workflow(play: Play | None = None, *, cast: Casting = lambda options: {}) -> Workflow | Callable[[Play], Workflow]:
    """Declare `async def name(problem, *, some_role: Role, ..., option=default) -> answer` as a workflow.

    A parameter annotated `Role` is a role, `Roles` is several, `Role | None` is one that some options leave out; for
    the last two, and for a role whose calls run in parallel, `@workflow(cast=...)` says what the options make of them.
    Raises WorkflowError if the function is not async, has no role, a positional one, or an option without a default.
    """
    if play is None:
        return lambda declared: _declare(declared, cast)
    return _declare(play, cast)


def declared(play: Workflow | Play) -> Workflow:
    """The workflow itself, or the function without a cast declared as one. Raises WorkflowError as `workflow` does."""
    return play if isinstance(play, Workflow) else workflow(play)


def _declare(play: Play, casting: Casting) -> Workflow:
    name = getattr(play, "__name__", repr(play))
    if not inspect.iscoroutinefunction(play):
        raise WorkflowError(f"workflow {name!r} must be declared with `async def`")
    declared = list(inspect.signature(play).parameters.values())
    try:
        hints = get_type_hints(play)
    except (NameError, TypeError, SyntaxError, AttributeError) as error:
        raise WorkflowError(f"workflow {name!r}: its annotations cannot be read: {error}") from error
    if not declared or declared[0].kind is inspect.Parameter.KEYWORD_ONLY:
        raise WorkflowError(f"workflow {name!r} must take the problem as its first, positional parameter")
    named = declared[1:]
    if any(parameter.kind is not inspect.Parameter.KEYWORD_ONLY for parameter in named):
        raise WorkflowError(f"workflow {name!r}: roles and options must stand after a `*`")
    hinted = {parameter.name: _takes(hints.get(parameter.name)) for parameter in named}
    parameters = {name: takes for name, takes in hinted.items() if takes is not None}
    if not parameters:
        raise WorkflowError(f"workflow {name!r} has no role: annotate at least one parameter with `Role`")
    options = {parameter.name: parameter.default for parameter in named if parameter.name not in parameters}
    if inspect.Parameter.empty in options.values():
        missing = [key for key, value in options.items() if value is inspect.Parameter.empty]
        raise WorkflowError(f"workflow {name!r}: option {missing[0]!r} needs a default, or is a role without `: Role`")
    found = Workflow(
        name=name,
        play=play,
        options=MappingProxyType(options),
        parameters=MappingProxyType(parameters),
        casting=casting,
    )
    _check_cast(found)
    return found


def _takes(hint: object) -> Takes | None:
    """The number of roles that a parameter with this annotation accepts; None if it is an option."""
    if hint is Role:
        return "one"
    if hint == Role | None:
        return "one or none"
    return "several" if hint == Roles else None


def _check_cast(found: Workflow) -> None:
    for name, part in _parts_of(found).items():
        if name not in found.parameters:
            raise WorkflowError(f"workflow {found.name!r}: its cast has {name!r}, which is not one of its roles")
        if not isinstance(part, Part) or not all(isinstance(count, int) for count in part):
            raise WorkflowError(
                f"workflow {found.name!r}: its cast gives {name!r} {part!r}: allowed is a Part of whole numbers"
            )
        takes = found.parameters[name]
        fits = {"one": part.roles == 1, "one or none": part.roles in (0, 1), "several": part.roles >= 1}[takes]
        if part.slots < 1 or not fits:
            raise WorkflowError(
                f"workflow {found.name!r}: {name!r} cannot have {part.roles} roles x {part.slots} slots:"
                f" it takes {takes}"
            )
    twice = [role for role, count in Counter(found.roles).items() if count > 1]
    if twice:
        raise WorkflowError(f"workflow {found.name!r}: two of its parameters stand for a role {twice[0]!r}")


def _parts_of(found: Workflow) -> Mapping[str, Part]:
    """The result of the cast. Raises WorkflowError if that is no mapping, or the cast itself raises."""
    try:
        parts = found.casting(found.options)
    except Exception as error:  # whatever the user's function raises
        raise WorkflowError(located(f"workflow {found.name!r}: its cast raised {told(error)}", error)) from error
    if not isinstance(parts, Mapping):
        raise WorkflowError(f"workflow {found.name!r}: its cast must return a mapping, not {type(parts).__name__}")
    return parts


def _names(parameter: str, count: int) -> tuple[str, ...]:
    return (parameter,) if count == 1 else tuple(f"{parameter}_{number}" for number in range(1, count + 1))
