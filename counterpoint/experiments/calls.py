"""The number of calls that an episode of a workflow makes, counted with invented replies: neither model nor data."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import NamedTuple

from counterpoint.boxes import last_box
from counterpoint.ended import Ended
from counterpoint.episode import CallKey, Message
from counterpoint.errors import WorkflowError
from counterpoint.event_loop import run_to_end
from counterpoint.task import Problem
from counterpoint.workflows.base import Reply, Workflow, assistant, user

SECONDS = 10.0
"""The longest that one episode with invented replies may take."""
_PROBLEM = Problem(
    id="counted", text="What is 1 + 1?", answer_format=r"Write the final answer as \boxed{answer}.", extract=last_box
)
_STRATEGIES = tuple(
    "\n".join([rf"\boxed{{{answer}}}", *(f"Strategy {number}: {number}" for number in range(1, count + 1))])
    for answer in (1, 2)
    for count in (0, 1, 3, 8)
)
_APPROVAL = r"\boxed{correct}"
_REJECTION = r"It is wrong. \boxed{incorrect}"
_UNREADABLE = "I do not know."
REPLIES: tuple[tuple[str, ...], ...] = (
    *((one,) for one in _STRATEGIES),
    (_STRATEGIES[3], _STRATEGIES[7]),
    (_APPROVAL,),
    (_REJECTION,),
    (_UNREADABLE,),
)
"""The invented replies, in turn, of one episode after the other."""


class Calls(NamedTuple):
    """Calls per episode."""

    fewest: int
    most: int


@dataclass(slots=True)
class _Speaker:
    """A role that says invented replies, and counts them."""

    name: str
    say: Callable[[], str]
    turns: dict[int, int] = field(default_factory=dict)

    async def __call__(
        self, messages: str | Sequence[Message], *, slot: int | None = None, turn: int | None = None
    ) -> Reply:
        text, place = self.say(), 0 if slot is None else slot
        self.turns[place] = self.turns.get(place, -1) + 1
        asked = [user(messages)] if isinstance(messages, str) else list(messages)
        key = CallKey(self.name, place, self.turns[place] if turn is None else turn)
        return Reply(key, text, [*asked, assistant(text)])


def calls_of(workflow: Workflow, most: int) -> Calls:
    """The fewest and the most calls of some episodes with invented replies.

    An episode that would make more than `most`, and may have no end, counts as one of `most`. Raises WorkflowError if
    none of these episodes could be played.
    """
    found, failed = [], ""
    for replies in REPLIES:
        try:
            found.append(run_to_end(_counted(workflow, replies, most)))
        except Exception as error:  # whatever the user's workflow raises on a reply that it does not expect
            failed = failed or f"{type(error).__name__}: {error}"
    counts = [count for count in found if count]
    if not counts:
        reason = failed or "it makes none"
        raise WorkflowError(f"workflow {workflow.name!r}: its calls cannot be counted with invented replies: {reason}")
    return Calls(min(counts), max(counts))


async def _counted(workflow: Workflow, replies: Sequence[str], most: int) -> int:
    said, in_turn, is_over = 0, cycle(replies), False

    def say() -> str:
        nonlocal said, is_over
        if said == most:
            is_over = True
            raise Ended
        said += 1
        return next(in_turn)

    roles: Mapping[str, _Speaker] = {role: _Speaker(role, say) for role in workflow.roles}
    try:
        async with asyncio.timeout(SECONDS):
            await workflow(_PROBLEM, roles)
    except (Exception, Ended, BaseExceptionGroup):
        if not is_over:
            raise
    return said
