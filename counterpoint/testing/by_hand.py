"""Episodes with hand-written replies, for trying and testing a workflow without a model."""

import re

from counterpoint.episode import Episode
from counterpoint.errors import EngineError, WorkflowError
from counterpoint.event_loop import run_to_end
from counterpoint.play import Limits, Stage, rollout
from counterpoint.policy import Routing
from counterpoint.samplers.scripted import Script, Scripted
from counterpoint.task import RIGHT, WRONG, Problem, Score, Task
from counterpoint.tasks.arithmetic import arithmetic
from counterpoint.testing.characters import character_chat
from counterpoint.workflows.base import Play, Workflow, declared

_LIMITS = Limits(temperature=1.0, max_tokens=10**6, max_prompt_tokens=10**9, timeout=30.0, judge_timeout=30.0)


def play_by_hand(workflow: Workflow | Play, script: Script, *, key: str, problem: Problem | None = None) -> Episode:
    """One episode in which each role replies `script(role, prompt)`; the answer `key` is correct, every other is wrong.

    Without a `problem` a calculation is used. Raises WorkflowError if the workflow fails or asks for more replies
    than the script has, and whatever else the script raises.
    """
    workflow, chat = declared(workflow), character_chat()
    stage = Stage(
        workflow=workflow,
        routing=Routing({role: role for role in workflow.roles}),
        sampler=Scripted(script, chat),
        chats=dict.fromkeys(workflow.roles, chat),
    )
    task = Task(problem=problem or a_calculation(), key=key, judge=_same_text)
    try:
        (group,) = run_to_end(rollout(stage, [task], _LIMITS, size=1, seed="by hand"))
    except EngineError as error:  # here the engine is the script
        if error.__cause__ is None or isinstance(error.__cause__.__cause__, StopIteration):
            raise WorkflowError(f"workflow {workflow.name!r} asks for more replies than the script has") from None
        raise error.__cause__ from None
    return group.episodes[0]


def a_calculation() -> Problem:
    r"""A problem whose answer is a number in `\boxed{...}`."""
    return arithmetic(operands=2, train=1, validation=1, test=1).train[0].problem


def a_program() -> Problem:
    """A problem whose answer is a program in a fenced block."""
    return Problem(
        id="program",
        text="Write a function `one()` that returns 1.",
        answer_format="Write the whole program in one block that begins with ```python and ends with ```.",
        extract=_last_program,
    )


def _last_program(reply: str) -> str | None:
    return next(reversed(re.findall(r"```python\n(.*?)```", reply, flags=re.DOTALL)), None)


async def _same_text(answer: str, key: str) -> Score:
    return RIGHT if answer == key else WRONG
